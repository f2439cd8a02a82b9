"""What a caller's request sends to one MCP server."""

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from lightspeed.configuration.mcp import FROM_CALLER
from lightspeed.tools.caller import Caller
from lightspeed.tools.mcp.header_rules import may_be_sent, sendable
from lightspeed.tools.mcp.secret_files import SecretFiles
from lightspeed.tools.mcp.server import McpServer

# They differ from request to request and say nothing of who asks, so they do not part connections and lists.
_OF_ONE_REQUEST = frozenset(
    {"traceparent", "tracestate", "baggage", "b3", "x-request-id", "x-correlation-id", "uber-trace-id"}
)


@dataclass(frozen=True, slots=True)
class ResolvedHeaders:
    """Headers for one server. `missing` are declared names without a value: with one of them, no tool is offered.

    `lasting` are sent with everything, `passing` with one call only. `authorizes` says whether they hold a
    credential.
    """

    lasting: Mapping[str, str] = field(default_factory=dict, repr=False)
    passing: Mapping[str, str] = field(default_factory=dict, repr=False)
    missing: Sequence[str] = ()
    authorizes: bool = False

    def digest(self, server: McpServer) -> str:
        """What connections and lists are kept under; it does not tell the values."""
        parts = [
            server.name,
            server.url,
            server.source,
            sorted((name.lower(), value) for name, value in self.lasting.items()),
        ]
        return hashlib.sha256(json.dumps(parts).encode()).hexdigest()


class HeaderResolver:
    """Joins the headers of all sources. The same name from two: `MCP-HEADERS`, then files and tokens, then passed on."""

    def __init__(self, *, kubernetes_tokens: bool = True) -> None:
        """`kubernetes_tokens` says whether callers bring a token that may be sent to servers."""
        self._kubernetes_tokens = kubernetes_tokens
        self._files = SecretFiles()

    async def resolve(self, servers: Sequence[McpServer], caller: Caller) -> list[ResolvedHeaders]:
        """For each server, in order."""
        paths = {
            value
            for server in servers
            if server.source == "config"
            for value in server.authorization_headers.values()
            if value not in FROM_CALLER
        }
        secrets = await self._files.read(paths)
        return [self._resolved(server, caller, secrets) for server in servers]

    def _resolved(self, server: McpServer, caller: Caller, secrets: Mapping[str, str]) -> ResolvedHeaders:
        found: dict[str, tuple[str, str]] = {}  # by name in lower case: the name as it is sent, and the value
        declared = {name.lower(): name for name in (*server.headers, *server.authorization_headers)}
        for name in server.headers:
            _put(found, name, caller.headers.get(name.lower(), ""))
        for name, source in server.authorization_headers.items():
            if source == "kubernetes":
                token = sendable(caller.token) if self._kubernetes_tokens else ""
                _put(found, name, f"Bearer {_bare(token)}" if _bare(token) else "")
            elif source not in FROM_CALLER and server.source == "config":
                _put(found, name, _with_scheme(name, secrets.get(source, "")))
        for name, value in caller.server_headers.get(server.name, {}).items():
            if name.lower() in declared:
                _put(found, declared[name.lower()], _with_scheme(name, sendable(value)))
        missing = [name for name in server.authorization_headers if name.lower() not in found]
        wanted = {name.lower() for name in server.authorization_headers}
        return ResolvedHeaders(
            lasting=_pairs(found[name] for name in found if name not in _OF_ONE_REQUEST or name in wanted),
            passing=_pairs(found[name] for name in found if name in _OF_ONE_REQUEST and name not in wanted),
            missing=missing,
            authorizes=bool(found.keys() & (wanted | {"authorization"})),
        )


def _put(found: dict[str, tuple[str, str]], name: str, value: str) -> None:
    value = sendable(value)
    if value and may_be_sent(name):
        found[name.lower()] = (name, value)


def _pairs(found: Iterable[tuple[str, str]]) -> dict[str, str]:
    return dict(found)


def _bare(token: str) -> str:
    """A token without the word before it."""
    scheme, _, rest = token.partition(" ")
    return rest.strip() if scheme.lower() == "bearer" else token


def _with_scheme(name: str, value: str) -> str:
    """An Authorization of one word only is a token; its scheme is written once."""
    if name.lower() == "authorization" and value and " " not in value:
        return f"Bearer {value}"
    return value
