"""Whom tools act for."""

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Caller:
    """The user of a turn, and the credentials that came with the request. Those never show in a dump.

    `token` is what authentication has left for servers that take a caller's own token, else empty. `headers` are
    those of the request, by name in lower case; `server_headers` are those of `MCP-HEADERS`, by server and name.
    """

    user_id: str
    token: str = field(default="", repr=False)
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    server_headers: Mapping[str, Mapping[str, str]] = field(default_factory=dict, repr=False)
