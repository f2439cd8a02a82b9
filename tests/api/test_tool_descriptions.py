"""Descriptions and schemas of tools, as they are written by all kinds of servers."""

from typing import Any

import pytest

from lightspeed.api.tool_descriptions import clean_description, parameters_of

KEYS = "TOOL_NAME=disk\nDISPLAY_NAME=Disk\nUSECASE=Tells how full disks are\nINSTRUCTIONS=Only when asked"


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("", ""),
        ("Tells how full disks are.", "Tells how full disks are."),
        ("USECASE=alone is no mark", "USECASE=alone is no mark"),
        ("long " * 100, "long " * 100),
        (KEYS, "Tells how full disks are"),
        (f"{KEYS}\n\nShows the disks of one host.\nBy name.", "Shows the disks of one host.\nBy name."),
        (f"Shows the disks of one host.\r\n \r\n{KEYS}", "Shows the disks of one host."),
        # Too short, and those of other keys.
        (f"Shows disks.\n\n{KEYS}\n\nEXAMPLES=one, two, three, four, five", "Tells how full disks are"),
        (f"  AGENT_DECISION_CRITERIA=when it is needed\n\n  {KEYS}", "Tells how full disks are"),
        ("TOOL_NAME=disk\nEXAMPLES=none", "TOOL_NAME=disk\nEXAMPLES=none"),
        ("TOOL_NAME=disk\nUSECASE= \nEXAMPLES=none", "TOOL_NAME=disk\nUSECASE= \nEXAMPLES=none"),
        ("TOOL_NAME=" + "x" * 300, "TOOL_NAME=" + "x" * 190 + "..."),
    ],
)
def test_the_part_for_people_is_shown(text: str, shown: str) -> None:
    assert clean_description(text) == shown


def types(property_: Any, **schema: Any) -> str:
    (found,) = parameters_of({"properties": {"p": property_}, **schema})
    return found.parameter_type


@pytest.mark.parametrize(
    ("property_", "shown"),
    [
        ({"type": "integer"}, "integer"),
        ({}, "string"),
        ({"type": ["string", "null"]}, "string"),
        ({"type": ["string", "integer"]}, "string | integer"),
        ({"type": "null"}, "string"),
        ({"type": 7}, "string"),
        ({"type": [None, {}]}, "string"),
        ({"anyOf": [{"type": "integer"}, {"type": "null"}]}, "integer"),
        ({"oneOf": [{"type": "string"}, {"type": "array"}, {"type": "string"}]}, "string | array"),
        ({"allOf": [{"type": "object"}, {"minProperties": 1}]}, "object"),
        ({"anyOf": "nonsense"}, "string"),
        ({"anyOf": [True, None, 7]}, "string"),
        ({"enum": [1, 2]}, "integer"),
        ({"enum": ["a", 1.5, None]}, "string | number"),
        ({"const": True}, "boolean"),
        ({"$ref": "#/$defs/Size"}, "integer"),
        ({"anyOf": [{"$ref": "#/$defs/Size"}, {"type": "null"}]}, "integer"),
        ({"$ref": "#/$defs/A~1B"}, "array"),
        ({"$ref": "#/$defs/Nothing"}, "string"),
        ({"$ref": "#/$defs/Loop"}, "string"),
        ({"$ref": "#/$defs/Deep"}, "integer"),
        ({"$ref": "https://example.com/schema"}, "string"),
        ({"$ref": 7}, "string"),
        (True, "string"),
        (None, "string"),
        ([], "string"),
    ],
)
def test_types_of_parameters(property_: Any, shown: str) -> None:
    definitions = {
        "Size": {"type": "integer"},
        "A/B": {"type": "array"},
        "Loop": {"$ref": "#/$defs/Loop"},
        # Each step leads to as many more.
        "Deep": {"anyOf": [{"type": "integer"}, *({"$ref": "#/$defs/Deep"} for _ in range(100))]},
    }
    assert types(property_, **{"$defs": definitions}) == shown


def test_names_descriptions_and_defaults() -> None:
    found = parameters_of(
        {
            "type": "object",
            "properties": {
                "path": {"type": "string", "description": "Which file."},
                "size": {"$ref": "#/$defs/Size"},
                "own": {"$ref": "#/$defs/Size", "description": "Of its own.", "default": None},
                "odd": {"description": ["no", "text"], "default": {"a": [1]}},
            },
            "required": ["path", "unknown", 7],
            "$defs": {"Size": {"type": "integer", "description": "How many.", "default": 5}},
        }
    )
    assert [tuple(parameter.model_dump().values()) for parameter in found] == [
        ("path", "Which file.", "string", True, None),
        ("size", "How many.", "integer", False, 5),
        ("own", "Of its own.", "integer", False, None),
        ("odd", "", "string", False, {"a": [1]}),
    ]


@pytest.mark.parametrize(
    "schema",
    [None, True, [], "text", {}, {"properties": None}, {"properties": ["a"]}, {"type": "object"}],
)
def test_schemas_without_properties(schema: Any) -> None:
    assert parameters_of(schema) == []


@pytest.mark.parametrize("required", [None, True, "p", {"p": 1}])
def test_what_is_required_is_a_list(required: Any) -> None:
    (found,) = parameters_of({"properties": {"p": {}}, "required": required})
    assert not found.required
