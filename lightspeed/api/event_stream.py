"""Sending a stream: whole events, a word into each long silence, and a proper end."""

import asyncio
import logging
from collections.abc import AsyncIterator, Sequence
from contextlib import suppress
from time import monotonic

from starlette.responses import StreamingResponse
from starlette.types import Send

from lightspeed.api.stream_events import StreamEvents
from lightspeed.assistant.events import Event, Failed
from lightspeed.assistant.turn import Turn
from lightspeed.errors import InternalError

logger = logging.getLogger(__name__)

_HEARTBEAT = {"type": "http.response.body", "body": b": heartbeat\n\n", "more_body": True}


class EventStream(StreamingResponse):
    """A response whose chunks are whole server-sent events.

    After `heartbeat` seconds without any it sends a comment line, so that no proxy takes it for dead; 0 is never.
    """

    def __init__(self, content: AsyncIterator[bytes], *, media_type: str, heartbeat: float = 0) -> None:
        super().__init__(content, media_type=media_type)
        self._heartbeat = heartbeat
        self._last_sent = 0.0

    async def stream_response(self, send: Send) -> None:
        """Send the response; one task beside it looks for silence."""
        await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
        self._last_sent = monotonic()
        beating = asyncio.create_task(self._beat(send)) if self._heartbeat else None
        try:
            async for chunk in self.body_iterator:
                await send({"type": "http.response.body", "body": chunk, "more_body": True})
                self._last_sent = monotonic()
        finally:
            # Nothing may follow the end: a task that has been cancelled does not send any more.
            if beating is not None:
                beating.cancel()
        await send({"type": "http.response.body", "body": b"", "more_body": False})

    async def _beat(self, send: Send) -> None:
        # A client that has left is noticed by the stream itself.
        with suppress(OSError):
            while True:
                silence = monotonic() - self._last_sent
                if silence < self._heartbeat:
                    await asyncio.sleep(self._heartbeat - silence)
                else:
                    await send(_HEARTBEAT)
                    self._last_sent = monotonic()


async def encoded(turn: Turn, events: StreamEvents) -> AsyncIterator[bytes]:
    """What has happened since the last write goes out in one write; a fault of ours is the last event."""
    try:
        async for batch in turn.batches():
            yield _joined(batch, events)
    except Exception:
        logger.exception("A stream broke off")
        yield _joined([Failed(InternalError())], events)


def _joined(batch: Sequence[Event], events: StreamEvents) -> bytes:
    encode = events.encode
    text = encode(batch[0]) if len(batch) == 1 else "".join(map(encode, batch))
    return text.encode("utf-8", "replace")
