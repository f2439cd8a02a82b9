"""Open connections to MCP servers, one for each server and set of credentials."""

import asyncio
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from lightspeed.tools.mcp.connection import Connection, MakeTransport
from lightspeed.tools.mcp.failure import McpFailure, timed_out
from lightspeed.tools.mcp.headers import ResolvedHeaders
from lightspeed.tools.mcp.server import McpServer
from lightspeed.tools.mcp.wire import TransportName

OPEN_SECONDS = 5.0
LIST_SECONDS = 15.0
CALL_SECONDS = 30.0
_MOST = 64
_MOST_REMEMBERED = 1024


class Connections:
    """Keeps the last used ones open. What one caller's credentials have opened serves no other's."""

    def __init__(
        self,
        make_transport: MakeTransport,
        *,
        tools_changed: Callable[[str], None] = lambda _: None,
        most: int = _MOST,
        idle_seconds: float = 300.0,
    ) -> None:
        """`tools_changed` hears the digest of those whose server has told that its tools are others now."""
        self._make_transport = make_transport
        self._tools_changed = tools_changed
        self._most = most
        self._idle_seconds = idle_seconds
        self._open: OrderedDict[str, Connection] = OrderedDict()
        self._ending: set[Connection] = set()
        self._spoken: dict[tuple[str, str], TransportName] = {}
        self._closed = False

    def __len__(self) -> int:
        return len(self._open)

    async def tools(self, server: McpServer, headers: ResolvedHeaders) -> list[dict[str, Any]]:
        """All tools as the server lists them. Raises McpFailure."""
        seconds = min(LIST_SECONDS, server.timeout or LIST_SECONDS)
        return await self._within(
            seconds, server, headers, lambda connection: connection.tools(), again=lambda _: True
        )

    async def call(
        self, server: McpServer, headers: ResolvedHeaders, name: str, arguments: Mapping[str, Any]
    ) -> dict[str, Any]:
        """The result of a tool, as in the protocol. Raises McpFailure. Cancelling it cancels the call."""
        return await self._within(
            server.timeout or CALL_SECONDS,
            server,
            headers,
            lambda connection: connection.call(name, arguments, headers.passing),
            again=lambda failure: not failure.delivered,
        )

    async def close(self) -> None:
        self._closed = True
        connections = [*self._open.values(), *self._ending]
        await asyncio.gather(*(connection.close() for connection in connections))

    async def _within[T](
        self,
        seconds: float,
        server: McpServer,
        headers: ResolvedHeaders,
        work: Callable[[Connection], Awaitable[T]],
        *,
        again: Callable[[McpFailure], bool],
    ) -> T:
        try:
            async with asyncio.timeout(seconds):
                connection, fresh = self._connection(server, headers)
                try:
                    return await work(connection)
                except McpFailure as failure:
                    # Only a connection that was open before can be dead without the server being so.
                    if fresh or not failure.ends_connection or failure.kind == "unauthorized":
                        raise
                    if not again(failure):
                        raise
                connection, _ = self._connection(server, headers)
                return await work(connection)
        except TimeoutError:
            raise timed_out(seconds) from None

    def _connection(self, server: McpServer, headers: ResolvedHeaders) -> tuple[Connection, bool]:
        """A connection, and whether it was made just now."""
        if self._closed:
            raise McpFailure("gone", "is not asked any more, for the service stops")
        key = headers.digest(server)
        found = self._open.get(key)
        if found is not None and not found.ending:
            self._open.move_to_end(key)
            return found, False
        if found is not None:
            self._retire(key)
        first = self._spoken.get(server.place, "http")

        def ended(connection: Connection) -> None:
            if connection.spoken is not None:
                self._spoken[server.place] = connection.spoken
                if len(self._spoken) > _MOST_REMEMBERED:
                    del self._spoken[next(iter(self._spoken))]
            self._ending.discard(connection)
            if self._open.get(key) is connection:
                del self._open[key]

        connection = Connection(
            server,
            headers.lasting,
            make_transport=self._make_transport,
            order=("http", "sse") if first == "http" else ("sse", "http"),
            open_seconds=min(OPEN_SECONDS, server.timeout or OPEN_SECONDS),
            idle_seconds=self._idle_seconds,
            tools_changed=lambda: self._tools_changed(key),
            ended=ended,
        )
        self._open[key] = connection
        self._make_room()
        return connection, True

    def _make_room(self) -> None:
        spare = len(self._open) - self._most
        newest = next(reversed(self._open))
        for key in [key for key, kept in self._open.items() if not kept.in_use and key != newest]:
            if spare <= 0:
                return
            self._retire(key)
            spare -= 1

    def _retire(self, key: str) -> None:
        connection = self._open.pop(key)
        self._ending.add(connection)
        connection.end()
