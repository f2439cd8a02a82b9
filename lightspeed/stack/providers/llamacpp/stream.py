"""The asynchronous iterator that a streaming request answers with."""

from collections import deque
from collections.abc import Callable
from typing import Self

from lightspeed.stack.providers.llamacpp.generation import Generation


class AnswerStream[Chunk]:
    """The chunks of one generation, each made by `parse` from the engine's JSON.

    Closing it, dropping it, or cancelling the task that waits for it stops the generation.
    """

    def __init__(self, generation: Generation, parse: Callable[[bytes], Chunk]) -> None:
        self._generation = generation
        self._parse = parse
        self._pending: deque[bytes] = deque()
        self._closed = False

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Chunk:
        if not self._pending:
            if self._closed:
                raise StopAsyncIteration
            self._pending = await self._generation.receive()
            if not self._pending:
                self._closed = True
                raise StopAsyncIteration
        return self._parse(self._pending.popleft())

    async def aclose(self) -> None:
        """Stops the generation; the rest of its chunks is dropped."""
        self._closed = True
        self._pending.clear()
        self._generation.cancel()

    def __del__(self) -> None:
        self._generation.cancel()
