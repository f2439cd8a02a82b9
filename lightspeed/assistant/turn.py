"""A Turn in progress: its events, for as many readers as care, for as long as they care."""

import asyncio
import time
from collections.abc import AsyncIterator
from typing import Literal, cast

from lightspeed.assistant.events import (
    ApprovalRequired,
    Completed,
    Ending,
    Event,
    Failed,
    Interrupted,
    Started,
)

_ENDINGS = (Completed, Failed, Interrupted, ApprovalRequired)


class Turn:
    """Runs in a task of its own: a reader that goes away neither stops it nor loses anything for others."""

    def __init__(self, request_id: str, user_id: str) -> None:
        self.request_id = request_id
        self.user_id = user_id
        self.began_at = time.perf_counter()
        self._events: list[Event] = []
        self._readers: list[asyncio.Future[None]] = []
        self._task: asyncio.Task[None] | None = None
        self._answered = False
        self._interrupted = False

    def run_in(self, task: asyncio.Task[None]) -> None:
        self._task = task

    def emit(self, event: Event) -> None:
        self._events.append(event)
        if self._readers:
            readers, self._readers = self._readers, []
            for reader in readers:
                if not reader.done():
                    reader.set_result(None)

    def interrupt(self) -> bool:
        """Stop the generation; what the model has said so far is kept. False when it had ended already."""
        if self._task is None or self._task.done() or self._answered or self.ended:
            return False
        if not self._interrupted:
            self._interrupted = True
            self._task.cancel()
        return True

    def answered(self) -> None:
        """The model is done; what is left is to record the Turn, which nobody may interrupt."""
        self._answered = True

    @property
    def accepted(self) -> bool:
        """The model has taken the question."""
        return bool(self._events) and isinstance(self._events[0], Started)

    @property
    def ended(self) -> bool:
        return bool(self._events) and isinstance(self._events[-1], _ENDINGS)

    @property
    def outcome(self) -> Literal["completed", "failed", "interrupted", "paused"]:
        """What has become of a Turn that has ended."""
        match self._events[-1]:
            case Completed():
                return "completed"
            case Interrupted():
                return "interrupted"
            case ApprovalRequired():
                return "paused"
            case _:
                return "failed"

    async def batches(self) -> AsyncIterator[list[Event]]:
        """All events from the first to the ending, in groups as they come."""
        seen = 0
        while True:
            if seen == len(self._events):
                await self._more()
            batch = self._events[seen:]
            seen += len(batch)
            yield batch
            if isinstance(batch[-1], _ENDINGS):
                return

    async def events(self) -> AsyncIterator[Event]:
        async for batch in self.batches():
            for event in batch:
                yield event

    async def first(self) -> Event:
        """Started, or Failed when the question was not accepted."""
        if not self._events:
            await self._more()
        return self._events[0]

    async def ending(self) -> Ending:
        while not self.ended:
            await self._more()
        return cast("Ending", self._events[-1])

    async def _more(self) -> None:
        reader = asyncio.get_running_loop().create_future()
        self._readers.append(reader)
        await reader
