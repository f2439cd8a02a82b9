"""The configuration file described as an OpenAPI document."""

from typing import Any

from lightspeed import __version__
from lightspeed.configuration.root import Configuration

_UNKNOWN_TO_OPENAPI = frozenset({"$defs", "propertyNames", "writeOnly"})


def openapi_schema() -> dict[str, Any]:
    """An OpenAPI 3.0.0 document without paths; `components.schemas` has the sections, the whole is `Configuration`."""
    schema = Configuration.model_json_schema(ref_template="#/components/schemas/{model}")
    sections = {**schema.pop("$defs"), "Configuration": schema}
    return {
        "openapi": "3.0.0",
        "info": {"title": "Lightspeed", "version": __version__},
        "components": {"schemas": {name: _older(sections[name]) for name in sorted(sections)}},
        "paths": {},
    }


def _older(schema: Any) -> Any:
    """A schema of JSON Schema 2020-12 as OpenAPI 3.0 has it."""
    if isinstance(schema, list):
        return [_older(item) for item in schema]
    if not isinstance(schema, dict):
        return schema
    result = {key: _older(value) for key, value in schema.items() if key not in _UNKNOWN_TO_OPENAPI}
    if "properties" in schema:
        # Names of keys, which may be called as a word of the schema language is.
        result["properties"] = {name: _older(value) for name, value in schema["properties"].items()}
    for bound, limit in (("exclusiveMinimum", "minimum"), ("exclusiveMaximum", "maximum")):
        if isinstance(result.get(bound), int | float) and not isinstance(result[bound], bool):
            result[limit], result[bound] = result[bound], True
    if "const" in result:
        result["enum"] = [result.pop("const")]
    if "$ref" in result and len(result) > 1:
        # Beside a reference 3.0 reads nothing.
        result["allOf"] = [{"$ref": result.pop("$ref")}]
    return _nullable(result) if "anyOf" in result else result


def _nullable(schema: dict[str, Any]) -> dict[str, Any]:
    kinds = [kind for kind in schema["anyOf"] if kind != {"type": "null"}]
    if len(kinds) == len(schema["anyOf"]):
        return schema
    rest = {key: value for key, value in schema.items() if key != "anyOf"}
    if len(kinds) > 1:
        return rest | {"anyOf": kinds, "nullable": True}
    (only,) = kinds
    return rest | ({"allOf": [only]} if "$ref" in only else only) | {"nullable": True}
