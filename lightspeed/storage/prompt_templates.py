"""Templates with placeholders such as `{{ product }}`."""

import re
from collections.abc import Collection, Mapping

from lightspeed.errors import Unprocessable

_PLACEHOLDER = re.compile(r"\{\{\s*([A-Za-z0-9_.-]+)\s*\}\}")
VARIABLE_NAME = r"^[A-Za-z0-9_.-]+$"


def placeholders(template: str) -> list[str]:
    """The names of the variables that a template uses, each once, in order. Other braces are plain text."""
    return list(dict.fromkeys(_PLACEHOLDER.findall(template)))


def undeclared(template: str, variables: Collection[str]) -> list[str]:
    """The names that a template uses and its variables do not hold."""
    return [name for name in placeholders(template) if name not in variables]


def rendered(template: str, declared: Collection[str], values: Mapping[str, str]) -> str:
    """The template with values in place of its placeholders. Placeholders within values stay as they are.

    Raises Unprocessable if a placeholder has no value, or a value belongs to no declared variable.
    """
    if missing := [name for name in placeholders(template) if name not in values]:
        raise Unprocessable(f"The prompt needs values for: {', '.join(missing)}.")
    if unknown := [name for name in values if name not in declared]:
        raise Unprocessable(f"The prompt has no variables named: {', '.join(unknown)}.")
    return _PLACEHOLDER.sub(lambda found: values[found[1]], template)
