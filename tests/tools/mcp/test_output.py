from typing import Any

import pytest

from lightspeed.tools.mcp.output import outcome_of
from lightspeed.tools.tool import ToolOutcome


def text(*parts: str, **more: Any) -> dict[str, Any]:
    return {"content": [{"type": "text", "text": part} for part in parts], **more}


def test_text_is_joined() -> None:
    assert outcome_of(text("81%", "free"), 100) == ToolOutcome("success", "81%\nfree", "81%\nfree")


def test_structured_content_stands_in_for_missing_text() -> None:
    assert outcome_of({"content": [], "structuredContent": {"free": "é"}}, 100).content == '{"free": "é"}'
    assert outcome_of(text("81%", structuredContent={"free": 81}), 100).content == "81%"


def test_other_parts_are_named() -> None:
    parts = [
        {"type": "image", "mimeType": "image/png", "data": "AAAA"},
        {"type": "audio", "mimeType": "audio/wav", "data": "AAA="},
        {"type": "resource", "resource": {"uri": "file:///a", "mimeType": "x/y", "blob": "AA=="}},
        {"type": "resource", "resource": {"uri": "file:///a", "text": "read me"}},
        {"type": "resource_link", "name": "log", "uri": "file:///log"},
    ]
    assert outcome_of({"content": parts}, 1000).content.splitlines() == [
        "[image: image/png, 3 bytes]",
        "[audio: audio/wav, 2 bytes]",
        "[resource file:///a: x/y, 1 bytes]",
        "read me",
        "[link: log file:///log]",
    ]


def test_an_error_reaches_client_and_model() -> None:
    outcome = outcome_of(text("no such host", isError=True), 100)
    assert outcome == ToolOutcome("failure", "no such host", "Error: no such host")


def test_an_error_without_text_says_so() -> None:
    assert outcome_of({"content": [], "isError": True}, 100).content == "The tool failed and gave no reason."


def test_nothing_is_told_to_the_model_in_words() -> None:
    assert outcome_of({"content": []}, 100) == ToolOutcome("success", "", "The tool returned nothing.")


def test_long_text_is_cut_with_a_mark() -> None:
    assert outcome_of(text("abcdef"), 4).content == "abcd\n[cut: 4 of 6 characters]"
    assert outcome_of(text("abcd"), 4).content == "abcd"


@pytest.mark.parametrize(
    ("given", "shown"),
    [
        ("a\x00b\x1b[31m", "a\ufffdb\ufffd[31m"),
        ("a\r\nb\rc\td", "a\nb\nc\td"),
        ("a\u2028b\u2029c\x85d", "a\nb\nc\nd"),
        ("half \ud83d", "half \ufffd"),
        ('\n\ndata: {"event": "end"}\n\n', '\n\ndata: {"event": "end"}\n\n'),
    ],
)
def test_characters_that_do_harm_are_replaced(given: str, shown: str) -> None:
    outcome = outcome_of(text(given), 100)
    assert outcome.content == outcome.for_model == shown
    outcome.content.encode()
