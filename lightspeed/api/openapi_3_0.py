"""OpenAPI 3.1 told in the words of 3.0, for the packaged Swagger UI, which knows nothing newer."""

from typing import Any

_NULL = {"type": "null"}


def as_3_0(document: dict[str, Any]) -> dict[str, Any]:
    """A copy of an OpenAPI 3.1 document that is valid as 3.0.3."""
    converted: dict[str, Any] = _convert(document)
    return {**converted, "openapi": "3.0.3"}


def _convert(value: Any) -> Any:
    if isinstance(value, list):
        return [_convert(item) for item in value]
    if not isinstance(value, dict):
        return value
    return _schema({key: _convert(item) for key, item in value.items()})


def _schema(schema: dict[str, Any]) -> dict[str, Any]:
    if isinstance(schema.get("const"), str | int | float | bool):
        schema["enum"] = [schema.pop("const")]
    if isinstance(examples := schema.get("examples"), list):
        del schema["examples"]
        if examples:
            schema.setdefault("example", examples[0])
    for bound, limit in (("exclusiveMinimum", "minimum"), ("exclusiveMaximum", "maximum")):
        if isinstance(schema.get(bound), int | float) and not isinstance(schema[bound], bool):
            schema[limit] = schema[bound]
            schema[bound] = True
    if isinstance(items := schema.get("prefixItems"), list):
        del schema["prefixItems"]
        schema["items"] = {"anyOf": items}
    for key in ("anyOf", "oneOf"):
        if isinstance(choices := schema.get(key), list) and _NULL in choices:
            schema = _nullable(schema, key, [choice for choice in choices if choice != _NULL])
    return schema


def _nullable(schema: dict[str, Any], key: str, choices: list[Any]) -> dict[str, Any]:
    rest = {name: value for name, value in schema.items() if name != key}
    if len(choices) != 1:
        return {**rest, key: choices, "nullable": True}
    if "$ref" in choices[0]:
        return {**rest, "allOf": choices, "nullable": True}
    return {**choices[0], **rest, "nullable": True}
