"""How tools are shown to clients: texts that were written for models cleaned up, and parameters out of JSON schemas."""

import re
from collections import deque
from collections.abc import Iterator, Mapping
from typing import Any, Final

from pydantic import BaseModel

_MARKS = ("TOOL_NAME=", "DISPLAY_NAME=")
_KEYS = (
    *_MARKS,
    "USECASE=",
    "INSTRUCTIONS=",
    "INPUT_DESCRIPTION=",
    "OUTPUT_DESCRIPTION=",
    "EXAMPLES=",
    "PREREQUISITES=",
    "AGENT_DECISION_CRITERIA=",
)
_USE_CASE = re.compile(r"^[ \t]*USECASE=(.*)$", re.MULTILINE)
_BLANK_LINE = re.compile(r"\n[ \t\r]*\n")
_LONGER_THAN: Final = 20
_CUT: Final = 200
_MOST_CHOICES: Final = 50
_LONGEST_CHAIN: Final = 8
_TYPES: Mapping[type, str] = {
    str: "string",
    bool: "boolean",
    int: "integer",
    float: "number",
    list: "array",
    dict: "object",
}


class ToolParameter(BaseModel):
    """`parameter_type` is a type of JSON schema, or several with ` | ` between them."""

    name: str
    description: str
    parameter_type: str
    required: bool
    default: Any = None


def clean_description(text: str) -> str:
    """The part for people of a description that lists `KEY=value` pairs for agents; any other stays as it is."""
    if not any(mark in text for mark in _MARKS):
        return text
    for part in _BLANK_LINE.split(text):
        if len(part.strip()) > _LONGER_THAN and not part.strip().startswith(_KEYS):
            return part.strip()
    if (found := _USE_CASE.search(text)) and found[1].strip():
        return found[1].strip()
    return text if len(text) <= _CUT else f"{text[:_CUT]}..."


def parameters_of(schema: Any) -> list[ToolParameter]:
    """The top-level properties of a schema. What is odd in it is shown as well as it can be."""
    return list(_parameters(schema)) if isinstance(schema, Mapping) else []


def _parameters(schema: Mapping[str, Any]) -> Iterator[ToolParameter]:
    properties, required = schema.get("properties"), schema.get("required")
    if not isinstance(properties, Mapping):
        return
    names = required if isinstance(required, list | tuple) else ()
    for name, given in properties.items():
        own = given if isinstance(given, Mapping) else {}
        target = _resolved(own, schema)
        description = own.get("description", target.get("description"))
        types = list(dict.fromkeys(_types(own, schema)))
        yield ToolParameter(
            name=name,
            description=description if isinstance(description, str) else "",
            parameter_type=" | ".join(types) or "string",
            required=name in names,
            default=own.get("default", target.get("default")),
        )


def _types(own: Any, schema: Mapping[str, Any]) -> Iterator[str]:
    """The types that a value may have, but null. A schema that leads in circles ends after a while."""
    waiting = deque([own])
    for _ in range(_MOST_CHOICES):
        if not waiting:
            return
        choice = waiting.popleft()
        if isinstance(choice, Mapping):
            target = _resolved(choice, schema)
            yield from _named_types(target)
            for key in ("anyOf", "oneOf", "allOf"):
                choices = target.get(key)
                waiting.extend(choices[:_MOST_CHOICES] if isinstance(choices, list | tuple) else ())


def _named_types(target: Mapping[str, Any]) -> Iterator[str]:
    given = target.get("type")
    if given is not None:
        named = given if isinstance(given, list | tuple) else [given]
        yield from (name for name in named if isinstance(name, str) and name != "null")
        return
    values = [target["const"]] if "const" in target else target.get("enum")
    if isinstance(values, list | tuple):
        yield from (_TYPES[type(value)] for value in values if type(value) in _TYPES)


def _resolved(own: Mapping[str, Any], schema: Mapping[str, Any]) -> Mapping[str, Any]:
    """What a reference inside of the same schema leads to, else the value itself."""
    for _ in range(_LONGEST_CHAIN):
        reference = own.get("$ref")
        if not isinstance(reference, str) or not reference.startswith("#/"):
            return own
        target: Any = schema
        for step in reference[2:].split("/"):
            key = step.replace("~1", "/").replace("~0", "~")
            target = target.get(key) if isinstance(target, Mapping) else None
        if not isinstance(target, Mapping):
            return own
        own = target
    return own
