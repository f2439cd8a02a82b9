"""Which headers may be sent to MCP servers, and how a request brings values for them."""

import json
import re
from collections.abc import Mapping
from typing import Any, Never

from lightspeed.errors import BadRequest
from lightspeed.tools.caller import Caller

_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]{1,256}")
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
_LONGEST_VALUE = 16_384  # characters

_FORBIDDEN = frozenset(
    {
        # They belong to one connection, or to the message that this service writes itself.
        "accept",
        "accept-encoding",
        "connection",
        "content-encoding",
        "content-length",
        "content-type",
        "expect",
        "host",
        "http2-settings",
        "keep-alive",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
        # They belong to the protocol.
        "last-event-id",
        "mcp-protocol-version",
        "mcp-session-id",
        # Credentials for all servers at once.
        "mcp-headers",
    }
)


def may_be_sent(name: str) -> bool:
    lowered = name.lower()
    return (
        bool(_NAME.fullmatch(name)) and lowered not in _FORBIDDEN and not lowered.startswith(("proxy-", ":"))
    )


def sendable(value: str) -> str:
    """The value without blanks around it; empty if it cannot be sent."""
    stripped = value.strip()
    return "" if _CONTROL.search(stripped) or len(stripped) > _LONGEST_VALUE else stripped


def parse_server_headers(text: str) -> Mapping[str, Mapping[str, str]]:
    """The values of the request header `MCP-HEADERS`, by server and header. Empty text is none.

    Raises BadRequest, whose cause says where the mistake is and repeats no value.
    """
    if not text.strip():
        return {}
    try:
        parsed = json.loads(text, object_pairs_hook=_without_repetition)
    except (ValueError, RecursionError):
        _refuse("is not valid JSON")
    if not isinstance(parsed, dict):
        _refuse('must be a JSON object such as {"server": {"Header": "value"}}')
    for server, headers in parsed.items():
        if not isinstance(headers, dict):
            _refuse(f"must hold a JSON object of headers for server {_quoted(server)}")
        for name, value in headers.items():
            place = f"header {_quoted(name)} of server {_quoted(server)}"
            if not _NAME.fullmatch(name):
                _refuse(f"names something that is no {place}")
            if not isinstance(value, str):
                _refuse(f"must hold text for {place}")
            if _CONTROL.search(value):
                _refuse(f"must hold no control characters in {place}")
            if len(value) > _LONGEST_VALUE:
                _refuse(f"must hold at most {_LONGEST_VALUE} characters for {place}")
            try:
                value.encode()
            except UnicodeEncodeError:
                _refuse(f"must hold valid Unicode in {place}")
    return parsed


def caller_of(headers: Mapping[str, str], user_id: str, token: str) -> Caller:
    """Whom tools act for. `headers` are the request's, `token` is the one that authentication leaves for servers.

    Raises BadRequest for a wrong `MCP-HEADERS`.
    """
    lowered = {name.lower(): value for name, value in headers.items()}
    return Caller(user_id, token, lowered, parse_server_headers(lowered.get("mcp-headers", "")))


def _without_repetition(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    seen: set[str] = set()
    for name, _ in pairs:
        if name in seen:
            _refuse(f"holds {_quoted(name)} twice")
        seen.add(name)
    return dict(pairs)


def _quoted(name: str) -> str:
    """For a message; what a client wrote is cut, and written in ASCII."""
    return json.dumps(name if len(name) <= 64 else name[:64] + "...")


def _refuse(problem: str) -> Never:
    raise BadRequest(f"The header MCP-HEADERS {problem}.")
