"""One generation, seen from both sides: the engine's thread writes, the event loop reads."""

import asyncio
from collections import deque
from collections.abc import Callable

PROGRESS = b'"prompt_progress":{'


class Generation:
    """The chunks of one answer on their way from the engine's thread to the event loop.

    The engine's thread calls `push` and `finish`, the loop calls the rest. The loop is woken once for all chunks
    that arrived since it last looked. Chunks are the engine's JSON objects, as bytes.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._chunks: deque[bytes] = deque()
        self._signal = asyncio.Event()
        self._signalled = False
        self._seen = False
        self._finished = False
        self._error: Exception | None = None
        self._ended = asyncio.Event()
        self.cancelled = False

    def push(self, chunk: bytes) -> bool:
        """Hands one chunk over. True tells the engine to stop."""
        if self.cancelled:
            return True
        self._seen = True
        if PROGRESS not in chunk:
            self._chunks.append(chunk)
        self._wake()
        return self.cancelled

    def finish(self, error: Exception | None = None) -> None:
        """The engine is done with this generation, by itself or because it was cancelled."""
        self._error = error
        self._finished = True
        try:
            self._loop.call_soon_threadsafe(self._ended.set)
        except RuntimeError:
            self.cancelled = True
        self._wake()

    async def started(self) -> None:
        """Returns when the engine has accepted the request; raises the engine's error if it refuses."""
        await self._until(lambda: self._seen or self._finished)
        if self._finished and not self._chunks:
            self._raise_error()

    async def receive(self) -> deque[bytes]:
        """All chunks that have arrived, at least one; empty at the end. Raises the engine's error."""
        await self._until(lambda: bool(self._chunks) or self._finished)
        if not self._chunks:
            self._raise_error()
        chunks, self._chunks = self._chunks, deque()
        return chunks

    def cancel(self) -> None:
        """Stops the generation at its next token, or at the end of the prompt step that is being read."""
        self.cancelled = True

    async def ended(self) -> None:
        """Returns when the engine has let go of this generation and its slot is free."""
        await self._ended.wait()

    async def _until(self, ready: Callable[[], bool]) -> None:
        try:
            while not ready():
                await self._signal.wait()
                self._signal.clear()
                self._signalled = False
        except BaseException:
            self.cancel()
            raise

    def _raise_error(self) -> None:
        if self._error is not None:
            raise self._error

    def _wake(self) -> None:
        if self._signalled:
            return
        self._signalled = True
        try:
            self._loop.call_soon_threadsafe(self._signal.set)
        except RuntimeError:
            self.cancelled = True
