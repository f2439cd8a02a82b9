import json

import pytest

from lightspeed.errors import BadRequest
from lightspeed.tools.mcp.header_rules import caller_of, may_be_sent, parse_server_headers


def test_values_are_kept_by_server_and_header() -> None:
    text = '{"tickets": {"Authorization": "Bearer u-41", "X-Tenant": "blue"}, "other": {}}'
    assert parse_server_headers(text) == {
        "tickets": {"Authorization": "Bearer u-41", "X-Tenant": "blue"},
        "other": {},
    }


@pytest.mark.parametrize("text", ["", "  "])
def test_no_text_is_no_headers(text: str) -> None:
    assert parse_server_headers(text) == {}


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("{", "is not valid JSON"),
        ("[" * 100_000, "is not valid JSON"),
        ("[]", "must be a JSON object"),
        ('"a"', "must be a JSON object"),
        ('{"a": "SECRET"}', 'must hold a JSON object of headers for server "a"'),
        ('{"a": ["SECRET"]}', 'must hold a JSON object of headers for server "a"'),
        ('{"a": {"X": 1}}', 'must hold text for header "X" of server "a"'),
        ('{"a": {"X": null}}', 'must hold text for header "X" of server "a"'),
        ('{"a": {"X": {"y": "SECRET"}}}', 'must hold text for header "X" of server "a"'),
        (
            '{"a": {"X": "SECRET\\r\\nHost: b"}}',
            'must hold no control characters in header "X" of server "a"',
        ),
        ('{"a": {"X": "SECRET\\u0000"}}', 'must hold no control characters in header "X" of server "a"'),
        ('{"a": {"X Y": "SECRET"}}', 'names something that is no header "X Y" of server "a"'),
        ('{"a": {"": "SECRET"}}', 'names something that is no header "" of server "a"'),
        ('{"a": {"X": "\\ud800"}}', 'must hold valid Unicode in header "X" of server "a"'),
        ('{"a": {"X": "1"}, "a": {"X": "2"}}', 'holds "a" twice'),
        ('{"a": {"X": "1", "X": "2"}}', 'holds "X" twice'),
        (json.dumps({"a": {"X": "S" * 20_000}}), "must hold at most 16384 characters"),
    ],
)
def test_what_is_wrong_is_told_without_values(text: str, problem: str) -> None:
    with pytest.raises(BadRequest) as refused:
        parse_server_headers(text)
    assert refused.value.status == 400
    assert refused.value.cause.startswith(f"The header MCP-HEADERS {problem}")
    assert "SECRET" not in refused.value.cause
    assert len(refused.value.cause) < 300


def test_a_caller_is_made_of_a_request() -> None:
    caller = caller_of({"MCP-Headers": '{"a": {"X": "1"}}', "X-Trace": "t"}, "u", "token")
    assert (caller.user_id, caller.token) == ("u", "token")
    assert caller.headers["x-trace"] == "t"
    assert caller.server_headers == {"a": {"X": "1"}}
    assert "token" not in repr(caller)


def test_a_caller_with_wrong_headers_is_refused() -> None:
    with pytest.raises(BadRequest):
        caller_of({"mcp-headers": "{"}, "u", "")


@pytest.mark.parametrize(
    "name",
    ["Host", "CONTENT-LENGTH", "Transfer-Encoding", "Connection", "Mcp-Session-Id", "mcp-protocol-version",
     "Proxy-Authorization", "TE", "Upgrade", "MCP-HEADERS", "Accept-Encoding", "bad name", "", "X\n"],
)  # fmt: skip
def test_names_that_are_never_sent(name: str) -> None:
    assert not may_be_sent(name)


@pytest.mark.parametrize("name", ["Authorization", "authorization", "X-Tenant", "Cookie"])
def test_other_names_may_be_sent(name: str) -> None:
    assert may_be_sent(name)
