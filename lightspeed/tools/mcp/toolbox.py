"""The tools of all MCP servers."""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Collection, Sequence

import httpx

from lightspeed.errors import LightspeedError, Unauthorized
from lightspeed.tools.caller import Caller
from lightspeed.tools.mcp.connection import Transports
from lightspeed.tools.mcp.connections import Connections
from lightspeed.tools.mcp.failure import McpFailure
from lightspeed.tools.mcp.headers import HeaderResolver, ResolvedHeaders
from lightspeed.tools.mcp.listing import listed_tools
from lightspeed.tools.mcp.listings import Listings, Tools
from lightspeed.tools.mcp.mcp_tool import McpTool
from lightspeed.tools.mcp.naming import model_names
from lightspeed.tools.mcp.server import McpServer
from lightspeed.tools.tool import Offer, ToolListing, ToolTrouble

logger = logging.getLogger(__name__)

type ApiServers = Callable[[Caller], Awaitable[Sequence[McpServer]]]


class McpToolbox:
    """A source of tools: the servers of the configuration, then those that were added through the API.

    Used in one event loop, until `close()`.
    """

    def __init__(
        self,
        servers: Sequence[McpServer] = (),
        *,
        api_servers: ApiServers | None = None,
        guarded_transport: Callable[[], httpx.AsyncBaseTransport] | None = None,
        kubernetes_tokens: bool = True,
        reserved: Collection[str] = (),
        patience: float = 5.0,
        most_connections: int = 64,
        idle_seconds: float = 300.0,
    ) -> None:
        """`guarded_transport` makes the only way to servers of source `api`; each connection gets one of its own.

        `kubernetes_tokens` says whether the tokens of callers may be sent to servers, as the authentication module
        has it. `reserved` are names of other tools of a turn. A list that is not known yet holds a turn up for at
        most `patience` seconds; connections are closed when nothing was asked for `idle_seconds`.
        """
        self._configured = tuple(servers)
        self._api_servers = api_servers
        self._reserved = frozenset(reserved)
        self._resolver = HeaderResolver(kubernetes_tokens=kubernetes_tokens)
        self._listings = Listings(self._load, patience=patience)
        self._connections = Connections(
            Transports(guarded_transport),
            tools_changed=self._listings.changed,
            most=most_connections,
            idle_seconds=idle_seconds,
        )

    async def servers(self, caller: Caller) -> Sequence[McpServer]:
        """All servers that this caller has. A name of the configuration is never another server's."""
        if self._api_servers is None:
            return self._configured
        try:
            added = await self._api_servers(caller)
        except LightspeedError as error:
            logger.warning("The MCP servers that users have added are left out: %s", error)
            return self._configured
        taken = {server.name for server in self._configured}
        return (*self._configured, *(server for server in added if server.name not in taken))

    async def begin(self) -> None:
        """List the tools of servers that need nothing from a caller, and look whether the others are there.

        Both go on in the background.
        """
        nobody = Caller("")
        for server, headers in zip(
            self._configured, await self._resolver.resolve(self._configured, nobody), strict=True
        ):
            if not headers.missing and not server.headers:
                self._listings.begin(server, headers)
            else:
                self._listings.probe(server, headers)

    async def offered(self, caller: Caller) -> Offer:
        """The tools that this caller may use now, what each server has listed, and which servers are missing.

        Raises Unauthorized where a server refuses the caller's credentials, or wants a login and got none.
        """
        servers = await self.servers(caller)
        resolved = await self._resolver.resolve(servers, caller)
        answers = await asyncio.gather(*map(self._answer, servers, resolved))
        troubles: list[ToolTrouble] = []
        listings: list[tuple[McpServer, ResolvedHeaders, Tools]] = []
        left_out = 0
        for server, headers, answer in zip(servers, resolved, answers, strict=True):
            if isinstance(answer, McpFailure):
                if answer.kind == "unauthorized" and (headers.authorizes or server.wants_login):
                    raise _unauthorized(server, answer)
                troubles.append(_trouble(server, answer))
            elif headers.missing:
                left_out += 1
                troubles.append(_unresolved(server, headers))
            else:
                listings.append((server, headers, answer))
        if left_out:
            logger.warning(
                "%d of %d MCP servers are left out of a request: headers have no value",
                left_out,
                len(servers),
            )
        return Offer(
            self._tools(listings),
            troubles,
            [ToolListing(server.name, tools) for server, _, tools in listings],
        )

    async def close(self) -> None:
        await self._listings.close()
        await self._connections.close()

    async def _load(self, server: McpServer, headers: ResolvedHeaders) -> Tools:
        return listed_tools(server.name, await self._connections.tools(server, headers))

    async def _answer(self, server: McpServer, headers: ResolvedHeaders) -> Tools | McpFailure:
        if headers.missing and not server.wants_login:
            return ()
        return await self._listings.tools(server, headers)

    def _tools(self, listings: Sequence[tuple[McpServer, ResolvedHeaders, Tools]]) -> list[McpTool]:
        found = [(server, headers, tool) for server, headers, tools in listings for tool in tools]
        names = model_names([(server.name, tool.name) for server, _, tool in found], self._reserved)
        return [
            McpTool(name, tool, server, headers, self._connections, self._listings)
            for name, (server, headers, tool) in zip(names, found, strict=True)
        ]


def _unauthorized(server: McpServer, failure: McpFailure) -> Unauthorized:
    headers = {"WWW-Authenticate": failure.challenge} if failure.challenge else {}
    return Unauthorized(f"MCP server at {server.shown_url} requires OAuth", headers=headers)


def _trouble(server: McpServer, failure: McpFailure) -> ToolTrouble:
    message = f"MCP server '{server.name}' {failure.reason}."
    unauthorized = failure.kind == "unauthorized"
    return ToolTrouble(server.name, "unauthorized" if unauthorized else "unreachable", message)


def _unresolved(server: McpServer, headers: ResolvedHeaders) -> ToolTrouble:
    names = ", ".join(headers.missing)
    return ToolTrouble(
        server.name, "unresolved", f"MCP server '{server.name}' is not used: no value for {names}."
    )
