"""Lists of tools, as odd as servers send them."""

from typing import Any

import pytest

from lightspeed.tools.mcp.listing import listed_tools

EMPTY = {"type": "object", "properties": {}}


def listed(*tools: dict[str, Any]) -> dict[str, Any]:
    return {tool.name: tool.input_schema for tool in listed_tools("ops", tools)}


@pytest.mark.parametrize(
    "schema",
    [
        {"type": "array"},
        {"type": ["object", "null"]},
        {"type": "object", "properties": [1]},
        {"type": "object", "properties": {"host": "string"}},
        {"type": "object", "required": 3},
        {"type": "object", "required": [3]},
    ],
)
def test_one_wrong_schema_costs_one_tool(schema: dict[str, Any]) -> None:
    found = listed({"name": "odd", "inputSchema": schema}, {"name": "plain", "inputSchema": EMPTY})
    assert found == {"plain": EMPTY}


@pytest.mark.parametrize("schema", [None, {}, {"type": "object"}, {"properties": None, "required": None}])
def test_what_servers_leave_out_is_added(schema: dict[str, Any] | None) -> None:
    assert listed({"name": "plain", "inputSchema": schema}) == {"plain": EMPTY}


@pytest.mark.parametrize("name", ["", "x" * 257, "red\x1b[31m", "two\nlines", "hidden\u202e"])
def test_names_that_cannot_be_shown_are_left_out(name: str) -> None:
    assert listed({"name": name, "inputSchema": EMPTY}, {"name": "plain", "inputSchema": EMPTY}) == {
        "plain": EMPTY
    }


def test_the_first_of_one_name_is_kept() -> None:
    assert listed({"name": "a", "inputSchema": EMPTY}, {"name": "a", "inputSchema": {"title": "b"}}) == {
        "a": EMPTY
    }


def test_a_list_has_an_end() -> None:
    found = listed_tools(
        "ops", ({"name": f"tool{number}", "description": "x" * 8000} for number in range(1000))
    )
    assert [tool.name for tool in found] == [f"tool{number}" for number in range(len(found))]
    assert 60 < len(found) < 66
