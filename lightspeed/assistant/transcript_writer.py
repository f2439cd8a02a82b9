"""Transcripts, written after the answer."""

import asyncio
import logging
from contextlib import suppress
from typing import TYPE_CHECKING

from lightspeed.errors import StorageError
from lightspeed.storage.records import TurnRecord
from lightspeed.storage.transcripts import Transcripts
from lightspeed.telemetry.metrics import Metrics

if TYPE_CHECKING:
    from lightspeed.storage.conversations import Conversations

logger = logging.getLogger(__name__)

_PAUSES = (1.0, 5.0, 15.0)  # seconds between two attempts
_CLOSES_WITHIN = 5.0
_CHECKS_AFTER = 1.0


class TranscriptWriter:
    """Writes in the background, and again when the disk fails. A deleted conversation leaves no transcript."""

    def __init__(self, transcripts: Transcripts, conversations: "Conversations", metrics: Metrics) -> None:
        self._transcripts = transcripts
        self._conversations = conversations
        self._metrics = metrics
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._unchecked: dict[str, TurnRecord] = {}  # by conversation and user
        self._check: asyncio.Task[None] | None = None
        self._closing = asyncio.Event()

    def write(self, turn: TurnRecord, *, truncated: bool, recorded: bool) -> None:
        """Begin to write a turn's transcript. `recorded` says that the database has the turn."""
        task = asyncio.create_task(
            self._write(turn, truncated=truncated, recorded=recorded), name=f"transcript {turn.request_id}"
        )
        self._tasks[turn.request_id] = task
        task.add_done_callback(lambda _: self._tasks.pop(turn.request_id, None))

    async def drop(self, turn: TurnRecord) -> None:
        """Leave no transcript of a turn whose conversation has been deleted."""
        task = self._tasks.get(turn.request_id)
        if task is not None:
            task.cancel()
            await asyncio.wait([task])
        await self._remove(turn)

    async def close(self) -> None:
        """Try at once what is still to be written; what the disk does not take is lost."""
        self._closing.set()
        if self._tasks:
            await asyncio.wait(self._tasks.values(), timeout=_CLOSES_WITHIN)
        if self._tasks:
            logger.error("%d transcripts are lost: the disk does not answer", len(self._tasks))
        for task in self._tasks.values():
            task.cancel()
        if self._check is not None:
            await asyncio.wait([self._check], timeout=_CLOSES_WITHIN)

    async def _write(self, turn: TurnRecord, *, truncated: bool, recorded: bool) -> None:
        for pause in (*_PAUSES, None):
            try:
                await self._transcripts.store(turn, truncated=truncated)
            except StorageError:
                if pause is None:
                    self._lost("the disk failed again and again")
                    return
                await self._pause(pause)
            except Exception as error:
                logger.debug("The cause", exc_info=True)
                self._lost(type(error).__name__)
                return
            else:
                break
        if recorded:
            self._check_soon(turn)

    def _lost(self, reason: str) -> None:
        self._metrics.storage_failure("transcript")
        logger.error("A transcript is lost: %s", reason)

    async def _pause(self, seconds: float) -> None:
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._closing.wait()

    def _check_soon(self, turn: TurnRecord) -> None:
        """Somebody may have deleted the conversation before its transcript was there to be removed."""
        self._unchecked[f"{turn.conversation_id} {turn.user_id}"] = turn
        if self._check is None or self._check.done():
            self._check = asyncio.create_task(self._check_all(), name="transcripts of deleted conversations")

    async def _check_all(self) -> None:
        # Many at once, because each question to the database costs as much as a turn is worth.
        while self._unchecked:
            await self._pause(_CHECKS_AFTER)
            written, self._unchecked = list(self._unchecked.values()), {}
            try:
                there = await self._conversations.existing([turn.conversation_id for turn in written])
            except StorageError:
                # Then nobody can have deleted anything either.
                continue
            for turn in written:
                if turn.conversation_id not in there:
                    await self._remove(turn)

    async def _remove(self, turn: TurnRecord) -> None:
        # Transcripts has told the log why it cannot.
        with suppress(StorageError):
            await self._transcripts.remove(turn.user_id, turn.conversation_id)
