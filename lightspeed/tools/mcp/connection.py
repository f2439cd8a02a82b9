"""One connection to an MCP server, which one task owns from its opening to its end."""

import asyncio
import logging
import ssl
import time
from collections.abc import Awaitable, Callable, Mapping
from contextvars import Context
from importlib import import_module
from typing import TYPE_CHECKING, Any

import anyio
import httpx
from anyio import to_thread

from lightspeed import __version__
from lightspeed.tools.mcp.failure import McpFailure, timed_out
from lightspeed.tools.mcp.server import McpServer
from lightspeed.tools.mcp.wire import TransportName, Wire, new_client

if TYPE_CHECKING:
    from lightspeed.tools.mcp.session import Session

logger = logging.getLogger(__name__)

_CLOSES_WITHIN = 3.0  # seconds

type MakeTransport = Callable[[McpServer], Awaitable[httpx.AsyncBaseTransport]]


class Connection:
    """Opens itself at once. Scopes of the SDK must be left in the task that entered them, so no request enters any.

    It ends when it is lost, when nothing was asked for `idle_seconds`, or with `close()`.
    """

    def __init__(
        self,
        server: McpServer,
        headers: Mapping[str, str],
        *,
        make_transport: MakeTransport,
        order: tuple[TransportName, TransportName],
        open_seconds: float,
        idle_seconds: float,
        tools_changed: Callable[[], None],
        ended: "Callable[[Connection], None]",
    ) -> None:
        """`order` says which transport is tried first."""
        self.server = server
        self.spoken: TransportName | None = None
        self._headers = headers
        self._make_transport = make_transport
        self._order = order
        self._open_seconds = open_seconds
        self._idle_seconds = idle_seconds
        self._tools_changed = tools_changed
        self._ended = ended
        self._in_use = 0
        self._spoiled = False
        self._failure = McpFailure("lost", "ended the connection before it answered")
        self._used_at = time.monotonic()
        self._closing = asyncio.Event()
        self._session: asyncio.Future[Session] = asyncio.get_running_loop().create_future()
        # An empty context: it outlives the request that needed it first.
        self._owner = asyncio.create_task(self._own(), name=f"MCP server {server.name}", context=Context())
        self._owner.add_done_callback(self._end)

    @property
    def in_use(self) -> bool:
        return self._in_use > 0

    @property
    def ending(self) -> bool:
        """Whether it takes no more requests."""
        lost = self._session.done() and (self._session.exception() is not None or self._session.result().lost)
        return lost or self._spoiled or self._closing.is_set() or self._owner.done()

    async def tools(self) -> list[dict[str, Any]]:
        """Raises McpFailure."""
        return await self._use(lambda session: session.tools())

    async def call(
        self, name: str, arguments: Mapping[str, Any], passing: Mapping[str, str]
    ) -> dict[str, Any]:
        """Raises McpFailure."""
        return await self._use(lambda session: session.call(name, arguments, passing))

    def end(self) -> None:
        """Let it close by itself, without waiting."""
        self._closing.set()

    async def close(self) -> None:
        self._closing.set()
        if self._session.done():
            await asyncio.wait({self._owner}, timeout=_CLOSES_WITHIN)
        self._owner.cancel()
        await asyncio.gather(self._owner, return_exceptions=True)

    async def _use[T](self, work: "Callable[[Session], Awaitable[T]]") -> T:
        self._in_use += 1
        try:
            session = await asyncio.shield(self._session)
            return await work(session)
        except McpFailure as failure:
            self._spoiled = self._spoiled or failure.ends_connection
            raise
        finally:
            self._in_use -= 1
            self._used_at = time.monotonic()
            if self._spoiled and not self._in_use:  # Other requests may still get their answers.
                self._closing.set()

    async def _own(self) -> None:
        for kind in self._order:
            try:
                await self._live(kind)
                return
            except McpFailure as error:
                # The first one tells more, but for a server that wants a login.
                if kind == self._order[0] or error.kind == "unauthorized":
                    self._failure = error
                if not error.perhaps_other_transport:
                    return

    def _end(self, owner: asyncio.Task[None]) -> None:
        self._closing.set()
        if not owner.cancelled() and (error := owner.exception()) is not None:
            logger.error("The connection to MCP server '%s' failed", self.server.name, exc_info=error)
        if not self._session.done():
            self._failure.while_opening = True
            self._session.set_exception(self._failure)
            self._session.exception()  # Nobody need wait for it.
        self._ended(self)

    async def _live(self, kind: TransportName) -> None:
        """Raises McpFailure if the connection does not open."""
        session_module = await to_thread.run_sync(import_module, "lightspeed.tools.mcp.session")
        wire = Wire(await self._make_transport(self.server), kind, redirects=self.server.source == "config")
        client = new_client(wire, self._headers, f"lightspeed/{__version__}")
        try:
            with anyio.move_on_after(self._open_seconds) as limit:
                async with session_module.opened(
                    kind,
                    _address(self.server.url, self._headers),
                    client,
                    wire,
                    tools_changed=self._tools_changed,
                    version=__version__,
                ) as session:
                    limit.deadline = float("inf")
                    self.spoken = kind
                    self._session.set_result(session)
                    await self._until_idle()
        except Exception as error:
            if self._session.done():
                return
            if (known := wire.failure or _in(error)) is None:
                logger.warning("MCP server '%s' cannot be used: %s", self.server.name, type(error).__name__)
            raise known or McpFailure("unreachable", "cannot be reached") from None
        finally:
            await wire.aclose()
        if limit.cancelled_caught:
            raise timed_out(self._open_seconds)

    async def _until_idle(self) -> None:
        while not self._closing.is_set():
            try:
                async with asyncio.timeout(max(self._used_at + self._idle_seconds - time.monotonic(), 0.01)):
                    await self._closing.wait()
            except TimeoutError:
                if not self.in_use and time.monotonic() - self._used_at >= self._idle_seconds:
                    return
                if self.in_use:
                    self._used_at = time.monotonic()


def _address(url: str, headers: Mapping[str, str]) -> str:
    """An Authorization of its own goes before the user and the password of an address."""
    if any(name.lower() == "authorization" for name in headers):
        return str(httpx.URL(url).copy_with(userinfo=b""))
    return url


def _in(error: BaseException) -> McpFailure | None:
    """The first failure inside of what task groups raise."""
    if isinstance(error, McpFailure):
        return error
    if isinstance(error, BaseExceptionGroup):
        return next((found for inner in error.exceptions if (found := _in(inner)) is not None), None)
    return None


class Transports:
    """Makes the lowest layer of connections. Certificates are read once, in a thread."""

    def __init__(self, guarded: Callable[[], httpx.AsyncBaseTransport] | None) -> None:
        """`guarded` makes the transport to addresses that users have given; without it, those are not reached."""
        self._guarded = guarded
        self._certificates: ssl.SSLContext | None = None
        self._reading = asyncio.Lock()

    async def __call__(self, server: McpServer) -> httpx.AsyncBaseTransport:
        """Raises McpFailure."""
        if server.source == "api":
            if self._guarded is None:
                raise McpFailure("unreachable", "is not reached, for servers of users are switched off")
            return await to_thread.run_sync(self._guarded)
        async with self._reading:
            if self._certificates is None:
                self._certificates = await to_thread.run_sync(_certificates)
        limits = httpx.Limits(max_connections=50, max_keepalive_connections=5, keepalive_expiry=60)
        return httpx.AsyncHTTPTransport(verify=self._certificates, trust_env=False, limits=limits)


def _certificates() -> ssl.SSLContext:
    certificates = httpx.create_ssl_context()
    certificates.load_default_certs()  # those of the machine, too
    return certificates
