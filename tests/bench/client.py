"""A minimal HTTP/1.1 client: one connection, one request at a time, no parsing that is not needed."""

import asyncio
from typing import cast


class BrokenResponseError(Exception):
    """The server closed the connection in the middle, or speaks no HTTP that this client knows."""


class Connection(asyncio.Protocol):
    """A keep-alive connection; `ask` returns the status and the body as it came, with its framing."""

    def __init__(self) -> None:
        self._buffer = bytearray()
        self._answered: asyncio.Future[None] | None = None
        self._transport: asyncio.Transport | None = None
        self._length: int | None = None
        self._start = -1

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)

    def connection_lost(self, exc: Exception | None) -> None:
        self._transport = None
        if self._answered and not self._answered.done():
            self._answered.set_exception(BrokenResponseError("connection closed by the server"))

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        if self._answered and not self._answered.done() and self._complete():
            self._answered.set_result(None)

    async def ask(self, request: bytes) -> tuple[int, bytes]:
        if self._transport is None:
            raise BrokenResponseError("connection closed by the server")
        self._buffer.clear()
        self._start, self._length = -1, None
        self._answered = asyncio.get_running_loop().create_future()
        self._transport.write(request)
        await self._answered
        status = int(self._buffer[9:12])
        body = bytes(self._buffer[self._start :])
        return status, _joined(body) if self._length is None else body

    def close(self) -> None:
        if self._transport:
            self._transport.close()

    def _complete(self) -> bool:
        if self._start < 0:
            end = self._buffer.find(b"\r\n\r\n")
            if end < 0:
                return False
            self._start = end + 4
            self._length = _content_length(bytes(self._buffer[:end]).lower())
        if self._length is None:
            # The last chunk. No event or JSON document ends with a line that holds only a zero.
            return self._buffer.endswith(b"\r\n0\r\n\r\n") or self._buffer[self._start :] == b"0\r\n\r\n"
        return len(self._buffer) >= self._start + self._length


def get(path: str) -> bytes:
    """The bytes of a request."""
    return f"GET {path} HTTP/1.1\r\nhost: 127.0.0.1\r\naccept: */*\r\n\r\n".encode()


def post(path: str, body: bytes) -> bytes:
    """The bytes of a request."""
    head = (
        f"POST {path} HTTP/1.1\r\nhost: 127.0.0.1\r\ncontent-type: application/json\r\n"
        f"accept: */*\r\ncontent-length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body


def _content_length(head: bytes) -> int | None:
    """None where the body comes in chunks."""
    for line in head.split(b"\r\n")[1:]:
        name, _, value = line.partition(b":")
        if name == b"content-length":
            return int(value)
        if name == b"transfer-encoding" and value.strip() == b"chunked":
            return None
    raise BrokenResponseError("response without a length")


def _joined(chunked: bytes) -> bytes:
    pieces: list[bytes] = []
    at = 0
    while True:
        end = chunked.index(b"\r\n", at)
        size = int(chunked[at:end], 16)
        if not size:
            return b"".join(pieces)
        at = end + 2
        pieces.append(chunked[at : at + size])
        at += size + 2
