"""Reading what models write as arguments."""

import pytest

from lightspeed.tools.arguments import parse_arguments

DEEP = '{"a": ' + "[" * 300 + "]" * 300 + "}"


@pytest.mark.parametrize(
    ("text", "arguments"),
    [
        ('{"a": 1}', {"a": 1}),
        ('"a": 1', {"a": 1}),
        ("", {}),
        ("  ", {}),
        ("just words", {"args": "just words"}),
        ("[1, 2]", {"args": "[1, 2]"}),
        ("null", {"args": "null"}),
        (DEEP, {"args": DEEP}),
        ('{"a": [{"b": [0]}]}', {"a": [{"b": [0]}]}),
        ("[" * 100_000, {"args": "[" * 100_000}),
    ],
)
def test_arguments(text: str, arguments: dict[str, object]) -> None:
    assert parse_arguments(text) == arguments
