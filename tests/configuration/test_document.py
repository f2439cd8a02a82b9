from pathlib import Path

import pytest

from lightspeed.configuration.document import parse_document, read_document
from lightspeed.errors import ConfigurationError

SECRET = "hunter2"


def test_content(tmp_path: Path) -> None:
    file = tmp_path / "file.yaml"
    file.write_bytes("\ufeffa: [1, true, ~, 'ü']\n".encode())
    assert read_document(file) == {"a": [1, True, None, "ü"]}


@pytest.mark.parametrize("text", ["", "\n", "# only a comment\n", "---\n"])
def test_nothing(text: str) -> None:
    assert parse_document(text) is None


def test_merged_mappings_may_override_keys() -> None:
    text = "base: &base {a: 1, b: 2}\nfirst: {<<: *base, b: 3}\nsecond: {<<: *base}\n"
    content = parse_document(text)
    assert content["first"] == {"a": 1, "b": 3}
    assert content["second"] == {"a": 1, "b": 2}


@pytest.mark.parametrize(
    ("text", "problems"),
    [
        ("a: 1\nb: 2\na: 3\n", ["a: is given twice, in line 1 and line 3"]),
        (
            "a:\n  b:\n    - c: 1\n      c: 2\nd: 1\nd: 2\n",
            ["a.b[0].c: is given twice, in line 3 and line 4", "d: is given twice, in line 5 and line 6"],
        ),
        ("a: &a {b: *a}\n", ["a.b: refers to itself"]),
        ("? [a, b]\n: 1\n", ["the file: line 1: a key must be text"]),
        ("a: 1\n---\na: 2\n", ["line 2, column 1: is not valid YAML: the file holds more than one document"]),
        ("a: " + "[" * 200_000, ["is nested too deeply"]),
        ("a: 2024-02-31\n", ["is not valid YAML: a date or a number does not exist"]),
        (
            "a: {b: ${env.PORT}}\n",
            [
                "line 1, column 9: is not valid YAML: a `,` or a closing bracket is missing; inside brackets `${env.NAME}` must be in quotes"
            ],
        ),
        ("a: \x07\n", ["is not valid YAML: it holds a control character"]),
    ],
)
def test_what_yaml_would_let_pass_or_explain_badly(text: str, problems: list[str]) -> None:
    with pytest.raises(ConfigurationError) as caught:
        parse_document(text)
    assert caught.value.problems == problems


@pytest.mark.parametrize(
    ("text", "line"),
    [
        (f"a: *{SECRET}\n", 1),
        (f"a: 1\nb: !{SECRET} 1\n", 2),
        (f"a: {SECRET}: 1\n", 1),
        (f"a: '{SECRET}\n", 2),
        (f"a: {{b: {SECRET}\n", 2),
        (f"a: [{SECRET}\nb: 1\n", 2),
        (f"a: @{SECRET}\n", 1),
        (f"a: 1\n  b: {SECRET}\n", 2),
        (f"a:\n\t- {SECRET}\n", 2),
        (f"- a\n{SECRET}\n", 3),
        (f"%{SECRET}\na: 1\n", 0),
        (f'a: "\\{SECRET}"\n', 1),
        (f"a: !!int {SECRET}\n", 0),
    ],
)
def test_a_mistake_is_placed_without_the_text(text: str, line: int) -> None:
    with pytest.raises(ConfigurationError) as caught:
        parse_document(text)
    assert SECRET not in str(caught.value)
    assert caught.value.__suppress_context__
    (problem,) = caught.value.problems
    assert "is not valid YAML" in problem
    assert not line or problem.startswith(f"line {line}, column ")


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    binary = tmp_path / "binary"
    binary.write_bytes(b"a: \xff\n")
    circle = tmp_path / "circle"
    circle.symlink_to(circle)
    expected = {
        tmp_path / "none": "no such file",
        tmp_path: "is a directory, not a file",
        binary: "byte 4: is not UTF-8 text",
        binary / "below": "cannot be read: Not a directory",
        circle: "cannot be read: Too many levels of symbolic links",
    }
    for path, problem in expected.items():
        with pytest.raises(ConfigurationError) as caught:
            read_document(path)
        assert caught.value.problems == [problem]
