import logging
from typing import Any

import pytest
import yaml

from lightspeed.errors import ConfigurationError
from lightspeed.tools.skills.manifest import Manifest

RIGHT: dict[str, Any] = {"name": "disk-triage", "description": "Finds what fills a disk."}


def parsed(fields: dict[str, Any] | str, body: str = "Look.", directory: str = "disk-triage") -> Manifest:
    head = fields if isinstance(fields, str) else yaml.safe_dump(fields)
    return Manifest.parsed(f"---\n{head}---\n{body}", directory)


def problems(fields: dict[str, Any] | str, directory: str = "disk-triage") -> list[str]:
    with pytest.raises(ConfigurationError) as raised:
        parsed(fields, directory=directory)
    return raised.value.problems


def test_the_fields_of_the_standard() -> None:
    more = {
        "license": "Apache-2.0",
        "compatibility": "c" * 500,
        "metadata": {"version": "1.0"},
        "allowed-tools": "Bash(df:*) Read",
    }
    found = parsed(RIGHT | more, "\n# Steps\n\n---\n\nLook.\n\n")
    assert found == Manifest("disk-triage", "Finds what fills a disk.", "# Steps\n\n---\n\nLook.")


def test_line_ends_and_multi_line_descriptions() -> None:
    text = "---\r\nname: a\r\ndescription: >\r\n  One\r\n  two.\r\n---  \r\nBody\r\n"
    assert Manifest.parsed(text, "a") == Manifest("a", "One two.", "Body")
    assert Manifest.parsed("---\nname: a\ndescription: d\n---", "a").instructions == ""


@pytest.mark.parametrize("name", ["a", "0", "a-b-c", "a1-2b", "a" * 64])
def test_names_that_are_allowed(name: str) -> None:
    assert parsed(RIGHT | {"name": name}, directory=name).name == name


@pytest.mark.parametrize("name", ["A", "-a", "a-", "a--b", "a_b", "a b", "ä", "a/b", "..", "a\n", "<a>"])
def test_names_that_are_refused(name: str) -> None:
    expected = "name: may hold only `a` to `z`, digits, and single hyphens between them"
    assert problems(RIGHT | {"name": name}, directory=name) == [expected]


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"name": "disk"}, "name: must be the name of the skill's directory"),
        ({"name": None}, "name: must not be empty"),
        ({"name": 2024}, "name: must be text; put the value in quotes"),
        ({"description": " \n"}, "description: must not be empty"),
        ({"description": ["a"]}, "description: must be text; put the value in quotes"),
        ({"description": "d" * 1025}, "description: must not have more than 1024 characters"),
        ({"license": 2}, "license: must be text; put the value in quotes"),
        ({"compatibility": ""}, "compatibility: must not be empty"),
        ({"compatibility": "c" * 501}, "compatibility: must not have more than 500 characters"),
        ({"metadata": "m"}, "metadata: must be a mapping of keys to values"),
        ({"metadata": {"version": 1.0}}, "metadata.version: must be text; put the value in quotes"),
        ({"metadata": {1: "a"}}, "metadata: must have keys that are text"),
        ({"allowed-tools": {"a": "b"}}, "allowed-tools: must be text"),
        ({"allowed-tools": [1]}, "allowed-tools: must be text"),
    ],
)
def test_a_field_that_breaks_its_rule(change: dict[str, Any], expected: str) -> None:
    assert problems(RIGHT | change) == [expected]


def test_a_name_that_is_too_long() -> None:
    name = "a" * 65
    assert problems(RIGHT | {"name": name}, name) == ["name: must not have more than 64 characters"]


def test_all_mistakes_are_told_at_once() -> None:
    assert problems({"license": 1}) == [
        "name: is required",
        "description: is required",
        "license: must be text; put the value in quotes",
    ]


@pytest.mark.parametrize(
    ("head", "expected"),
    [
        ("- a\n", "the block between the lines `---` must be a mapping of fields to values"),
        ("", "the block between the lines `---` must be a mapping of fields to values"),
        ("name: a\nname: b\n", "name: is given twice, in line 2 and line 3"),
        ("name: disk-triage\ndescription: Use when: full\n", "line 3, column 22: is not valid YAML: "),
        ("name: \x07\n", "is not valid YAML: it holds a control character"),
        ("a: " + "[" * 200 + "]" * 200 + "\n", "is nested too deeply"),
    ],
)
def test_frontmatter_that_is_no_yaml(head: str, expected: str) -> None:
    (problem,) = problems(head)
    assert problem.startswith(expected)


@pytest.mark.parametrize(
    "text", ["", "# Steps\n", "\n---\nname: a\n---\n", "---\nname: a\n", "----\nname: a\n---\n"]
)
def test_a_file_without_frontmatter(text: str) -> None:
    with pytest.raises(ConfigurationError) as raised:
        Manifest.parsed(text, "a")
    assert raised.value.problems == ["must begin with a block of fields between two lines `---`"]


def test_fields_of_other_programs_are_told_and_ignored(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        assert parsed(RIGHT | {"version": 3, "argument-hint": "h"}).name == "disk-triage"
    assert caplog.messages == ["Skill disk-triage: unknown fields are ignored: argument-hint, version"]
