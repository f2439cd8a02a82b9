"""A network in front of a PostgreSQL server: it fails when it is told to, and it can add encryption.

The server of the tests is built without encryption; in front of it this is what a load balancer is elsewhere.
"""

import asyncio
import ssl
import struct
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Literal

type Kind = Literal["encrypted", "clear"]

_SSL_REQUEST = struct.pack("!ii", 8, 80877103)


class Proxy:
    """While it is silent, nothing passes and nothing ends, as with a cable pulled out."""

    def __init__(self, port: int, tls: ssl.SSLContext | None, refuses: Kind | None) -> None:
        self._target = port
        self._tls = tls
        self._refuses = refuses
        self._passes = asyncio.Event()
        self._passes.set()
        self._connections: set[asyncio.Task[None]] = set()
        self.port = 0
        self.passed: list[Kind] = []
        """The connections that reached the server."""

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._connections.add(task)
        with suppress(OSError, EOFError, asyncio.CancelledError):
            await self._passes.wait()
            await self._connect(reader, writer)
        writer.transport.abort()
        self._connections.discard(task)

    def fall_silent(self) -> None:
        self._passes.clear()

    def recover(self) -> None:
        self._passes.set()

    def break_connections(self) -> None:
        for task in list(self._connections):
            task.cancel()

    async def _connect(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        kind: Kind = "clear"
        start = await reader.readexactly(8)
        if self._tls and start == _SSL_REQUEST:
            writer.write(b"S")
            await writer.start_tls(self._tls)
            kind, start = "encrypted", b""
        if kind == self._refuses and start != _SSL_REQUEST:
            await reader.read(1000)
            writer.write(_no_entry())
            await writer.drain()
            return
        self.passed.append(kind)
        there, away = await asyncio.open_connection("127.0.0.1", self._target)
        try:
            away.write(start)
            async with asyncio.TaskGroup() as both:
                both.create_task(self._copy(reader, away))
                both.create_task(self._copy(there, writer))
        except* OSError:
            pass
        finally:
            away.transport.abort()

    async def _copy(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(65536):
            await self._passes.wait()
            writer.write(data)
            await writer.drain()
        writer.close()


@asynccontextmanager
async def proxy_to(
    port: int, *, tls: ssl.SSLContext | None = None, refuses: Kind | None = None
) -> AsyncIterator[Proxy]:
    proxy = Proxy(port, tls, refuses)
    server = await asyncio.start_server(proxy.serve, "127.0.0.1", 0)
    proxy.port = server.sockets[0].getsockname()[1]
    try:
        yield proxy
    finally:
        server.close()
        proxy.break_connections()
        await server.wait_closed()


def _no_entry() -> bytes:
    """What a server says whose pg_hba.conf has no entry for this kind of connection."""
    fields = b"SFATAL\x00C28000\x00Mno pg_hba.conf entry for this connection\x00\x00"
    return b"E" + struct.pack("!i", 4 + len(fields)) + fields
