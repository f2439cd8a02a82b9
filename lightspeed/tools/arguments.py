"""Reading the arguments of a tool call, which models do not always write as JSON."""

import json
from typing import Any


def parse_arguments(text: str) -> dict[str, Any]:
    """A JSON object; else what becomes one inside braces; else `{"args": text}`. Empty text is no arguments."""
    stripped = text.strip()
    if not stripped:
        return {}
    for candidate in (stripped, f"{{{stripped}}}"):
        try:
            parsed = json.loads(candidate)
        except (ValueError, RecursionError):
            continue
        if isinstance(parsed, dict):
            return parsed
    return {"args": text}
