"""Bodies of answers, limited in size."""

from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from typing import Any

import anyio
import httpx

from lightspeed.tools.mcp.failure import McpFailure

LARGEST = 8 * 1024 * 1024  # bytes of one answer or event
_LINGERS = 0.5  # seconds
_REST = 64 * 1024  # bytes that may follow an answer
_BROKEN_OFF = "ended the connection before its answer was complete"


def _too_large() -> McpFailure:
    return McpFailure("garbled", f"sent an answer of more than {LARGEST // 1024 // 1024} MB")


async def read_limited(response: httpx.Response) -> bytes:
    """The whole body. Raises McpFailure."""
    data = bytearray()
    try:
        async for part in response.stream:  # type: ignore[union-attr]
            data += part
            if len(data) > LARGEST:
                raise _too_large()
    except httpx.HTTPError:
        raise McpFailure("lost", _BROKEN_OFF) from None
    finally:
        await response.aclose()
    return bytes(data)


class LimitedStream(httpx.AsyncByteStream):
    """Events as they come. The end of a stream is never an error to its reader.

    With `whole`, the limit is for all of it, else for each event. `ended` hears why a stream ended that its reader
    has read to the end; a reader that has what it wants stops before. It does not hear of streams with numbered
    events, which can be asked for again.
    """

    def __init__(
        self, inner: Any, *, whole: bool, ended: Callable[[McpFailure], None] = lambda _: None
    ) -> None:
        self._inner = inner
        self._whole = whole
        self._ended = ended
        self._parts: AsyncIterator[bytes] | None = None
        self._reading: anyio.CancelScope | None = None
        self._stopped = False

    async def __aiter__(self) -> AsyncIterator[bytes]:
        size = 0
        numbered = False
        parts = self._parts = aiter(self._inner)
        while (part := await self._next(parts)) is not None:
            size += len(part)
            if not self._whole:
                size = min(size, _since_event(part, size))
            if size > LARGEST:
                self._ended(_too_large())
                return
            numbered = numbered or part.startswith(b"id:") or b"\nid:" in part
            yield part
        if not numbered:
            self._ended(McpFailure("lost", _BROKEN_OFF))

    def stop(self) -> None:
        """End it now, from another task."""
        self._stopped = True
        if self._reading is not None:
            self._reading.cancel()

    async def aclose(self) -> None:
        try:
            if self._whole and self._parts is not None and not self._stopped:
                await self._linger(self._parts)
        finally:
            await self._inner.aclose()

    async def _linger(self, parts: AsyncIterator[bytes]) -> None:
        """After the answer a server ends its stream, and a connection that was read to the end serves again."""
        left = _REST
        with anyio.move_on_after(_LINGERS) as self._reading:
            with suppress(httpx.HTTPError):
                async for part in parts:
                    left -= len(part)
                    if left < 0:
                        return

    async def _next(self, parts: AsyncIterator[bytes]) -> bytes | None:
        if self._stopped:
            return None
        # A scope of its own for each part, for none may be open while the reader has its turn.
        with anyio.CancelScope() as self._reading:
            try:
                return await anext(parts)
            except (StopAsyncIteration, httpx.HTTPError):
                return None
        return None


def _since_event(part: bytes, size: int) -> int:
    """Bytes since the last blank line, which ends an event; one that two parts share is not seen."""
    end = max(part.rfind(b"\n\n"), part.rfind(b"\r\n\r\n"), part.rfind(b"\r\r"))
    return size if end < 0 else len(part) - end
