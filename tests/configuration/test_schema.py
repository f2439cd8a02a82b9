import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from lightspeed.configuration.root import Configuration
from lightspeed.configuration.schema import openapi_schema


def parts(value: Any) -> Iterator[dict[str, Any]]:
    if isinstance(value, dict):
        yield value
    for item in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
        yield from parts(item)


def test_every_section_is_described() -> None:
    schema = openapi_schema()
    assert schema["openapi"] == "3.0.0"
    assert schema["paths"] == {}
    sections = schema["components"]["schemas"]
    assert list(sections["Configuration"]["properties"]) == list(Configuration.model_fields)
    assert sections["Configuration"]["additionalProperties"] is False
    assert {"ServiceConfiguration", "TLSConfiguration", "ByokRag", "Action"} <= set(sections)


def test_all_references_lead_somewhere() -> None:
    schema = openapi_schema()
    references = {part["$ref"] for part in parts(schema) if isinstance(part.get("$ref"), str)}
    known = {f"#/components/schemas/{name}" for name in schema["components"]["schemas"]}
    assert references
    assert references <= known


def test_nothing_that_openapi_3_0_does_not_know() -> None:
    for part in parts(openapi_schema()["components"]):
        assert part.get("type") != "null"
        assert not isinstance(part.get("type"), list)
        assert isinstance(part.get("exclusiveMinimum", True), bool)
        assert not {"const", "$defs", "propertyNames"} & set(part), part
        assert "$ref" not in part or len(part) == 1


@pytest.mark.parametrize(
    ("section", "key", "expected"),
    [
        ("ServiceConfiguration", "port", {"minimum": 0, "exclusiveMinimum": True, "maximum": 65535, "default": 8080}),
        ("ServiceConfiguration", "base_url", {"type": "string", "nullable": True}),
        ("JwtRoleRule", "negate", {"type": "boolean", "default": False}),
        ("Configuration", "skills", {"nullable": True, "allOf": [{"$ref": "#/components/schemas/SkillsConfiguration"}]}),
    ],
)  # fmt: skip
def test_keys(section: str, key: str, expected: dict[str, Any]) -> None:
    description = openapi_schema()["components"]["schemas"][section]["properties"][key]
    assert description | expected == description


def test_the_schema_is_json(tmp_path: Path) -> None:
    json.dumps(openapi_schema())
