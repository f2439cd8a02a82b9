"""Reading the arguments of a tool call, which models do not always write as JSON."""

import json
from typing import Any

_DEEPEST = 100  # levels; what is written and kept as JSON later may have about 200 in all


def parse_arguments(text: str) -> dict[str, Any]:
    """A JSON object; else what becomes one inside braces; else `{"args": text}`. Empty text is no arguments.

    Text of more than 100 levels is no JSON here.
    """
    stripped = text.strip()
    if not stripped:
        return {}
    for candidate in (stripped, f"{{{stripped}}}"):
        try:
            parsed = json.loads(candidate)
        except (ValueError, RecursionError):
            continue
        if isinstance(parsed, dict) and not _deeper(parsed, _DEEPEST):
            return parsed
    return {"args": text}


def _deeper(value: Any, levels: int) -> bool:
    """Whether lists and objects lie inside each other more than `levels` deep."""
    layer = [value]
    for _ in range(levels + 1):
        inner: list[Any] = []
        for item in layer:
            if isinstance(item, dict):
                inner += item.values()
            elif isinstance(item, list):
                inner += item
        if not inner:
            return False
        layer = inner
    return True
