"""Turns that wait for the database."""

import asyncio
import logging
import sys
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import replace
from enum import Enum, auto
from typing import TYPE_CHECKING

from lightspeed.assistant.record import without_content
from lightspeed.assistant.retry_order import RetryOrder
from lightspeed.errors import StorageError
from lightspeed.storage.pending import PendingTurn, PendingTurns
from lightspeed.storage.records import TurnRecord

if TYPE_CHECKING:
    from lightspeed.storage.conversations import Conversations

logger = logging.getLogger(__name__)

_CLOSES_WITHIN = 5.0  # seconds
_SHORTEST_PAUSE, _LONGEST_PAUSE = 1.0, 30.0
_BATCH = 50
_MOST_IN_MEMORY = 1000
_FAILURES_IN_A_ROW = 2  # then the database is away


class Outcome(Enum):
    """What has become of an attempt to record a turn."""

    RECORDED = auto()
    DELETED = auto()  # its conversation is not there any more
    FAILED = auto()
    UNFIT = auto()  # the turn is at fault, and not the database

    @property
    def settled(self) -> bool:
        return self in (Outcome.RECORDED, Outcome.DELETED)


class Backlog:
    """Records turns, and keeps those that the database does not take until it does.

    Several processes may share the folder of waiting turns: recording is idempotent, so that they may try the same
    one. `dropped` is told of each waiting turn whose conversation has been deleted meanwhile.
    """

    def __init__(
        self,
        conversations: "Conversations",
        pending: PendingTurns,
        *,
        dropped: Callable[[TurnRecord], Awaitable[None]],
    ) -> None:
        self._conversations = conversations
        self._pending = pending
        self._dropped = dropped
        self._order = RetryOrder()
        self._attempts: dict[str, asyncio.Task[Outcome]] = {}
        self._waiting: dict[str, str] = {}  # conversations by request
        self._in_memory: dict[str, PendingTurn] = {}
        self._commits = 0  # since what waits was tried last
        self._arrived, self._back = asyncio.Event(), asyncio.Event()
        self._retrying: asyncio.Task[None] | None = None
        self.database_is_away = False

    def start(self) -> None:
        """Record from now on what waits, also what an earlier process has left."""
        self._retrying = asyncio.create_task(self._retry(), name="turns that wait")

    @property
    def waiting(self) -> int:
        """How many turns wait, as far as this process knows."""
        return len(self._waiting) + self._order.set_aside

    def holds(self, request_id: str) -> bool:
        return request_id in self._waiting

    def holds_of(self, conversation_id: str) -> bool:
        """Whether a turn of a conversation waits, as far as this process knows."""
        return conversation_id in self._waiting.values()

    def attempt(self, waiting: PendingTurn) -> asyncio.Task[Outcome]:
        """Begin to record a turn: once at a time for each, and to its end whoever waits for it."""
        request_id = waiting.turn.request_id
        attempt = self._attempts.get(request_id)
        if attempt is None:
            attempt = self._attempts[request_id] = asyncio.create_task(self._record(waiting))
            attempt.add_done_callback(lambda _: self._attempts.pop(request_id, None))
        return attempt

    async def add(self, waiting: PendingTurn, attempt: asyncio.Task[Outcome]) -> bool:
        """Keep a turn whose attempt has failed or takes too long. False if the attempt was faster."""
        turn = waiting.turn
        if not attempt.done():
            self.database_is_away = True
        if not self._conversations.keeps_content:
            waiting = replace(waiting, turn=without_content(turn))
        on_disk = await self._pending.add(waiting)
        if not on_disk:
            self._hold_in_memory(waiting)
        if attempt.done() and attempt.result().settled:
            await self._forget(turn)
            return False
        self._waiting[turn.request_id] = turn.conversation_id
        self._arrived.set()
        place = "on disk" if on_disk else "in memory"
        logger.error("A turn could not be recorded, and waits %s for the database", place)
        return True

    async def record_conversation(self, conversation_id: str) -> bool:
        """Try the turns of one conversation, wherever they wait; whether anything has been recorded."""
        recorded = False
        found, _ = await self._oldest(sys.maxsize)
        for waiting in self._order.tried(found):
            if waiting.turn.conversation_id == conversation_id:
                self._waiting[waiting.turn.request_id] = conversation_id
                if not (await self._try(waiting)).settled:
                    self._arrived.set()
                    break
                recorded = True
        return recorded

    async def close(self) -> None:
        """Try once more what waits. What cannot be kept is logged."""
        if self._retrying is not None:
            self._retrying.cancel()
            await asyncio.wait([self._retrying])
        with suppress(TimeoutError):
            async with asyncio.timeout(_CLOSES_WITHIN):
                while self._waiting and await self._sweep():
                    pass
                if self._attempts:
                    await asyncio.wait(self._attempts.values())
        await self._save_memory()
        if lost := len(self._in_memory):
            logger.error("%d turns are lost: neither the database nor the disk takes them", lost)
        if left := self.waiting - lost:
            logger.warning("%d turns wait on disk for the database, and for the next start", left)

    def _hold_in_memory(self, waiting: PendingTurn) -> None:
        self._in_memory[waiting.turn.request_id] = waiting
        if len(self._in_memory) > _MOST_IN_MEMORY:
            oldest = next(iter(self._in_memory))
            del self._in_memory[oldest]
            self._waiting.pop(oldest, None)

    async def _record(self, waiting: PendingTurn) -> Outcome:
        turn = waiting.turn
        try:
            stored = await self._conversations.record(turn, begins=waiting.begins)
        except StorageError:
            # The database has told the log what is wrong with it.
            self.database_is_away = True
            return Outcome.FAILED
        except Exception as error:
            logger.error("A turn cannot be recorded: %s", type(error).__name__)
            logger.debug("The cause", exc_info=True)
            return Outcome.UNFIT
        self._commits += 1
        if self.database_is_away:
            self.database_is_away = False
            self._back.set()
        waited = turn.request_id in self._waiting
        if waited:
            await self._forget(turn)
        if stored is not None:
            return Outcome.RECORDED
        logger.info("A turn is dropped: its conversation has been deleted")
        if waited:
            await self._dropped(turn)
        return Outcome.DELETED

    async def _try(self, waiting: PendingTurn) -> Outcome:
        attempt = self.attempt(waiting)
        await asyncio.wait([attempt])
        return attempt.result()

    async def _forget(self, turn: TurnRecord) -> None:
        self._order.done(turn)
        try:
            await self._pending.remove(turn)
        except StorageError:
            # What has never reached the disk need not be removed from it.
            if turn.request_id not in self._in_memory:
                self._order.put_aside(turn)
        self._waiting.pop(turn.request_id, None)
        self._in_memory.pop(turn.request_id, None)

    async def _retry(self) -> None:
        pause = _SHORTEST_PAUSE
        while True:
            self._back.clear()
            try:
                recorded = await self._sweep()
            except Exception:
                recorded = False
                logger.exception("The turns that wait cannot be tried")
            if recorded:
                pause = _SHORTEST_PAUSE
                continue
            if not self._waiting:
                self._arrived.clear()
                await self._arrived.wait()
                pause = _SHORTEST_PAUSE
            await self._save_memory()
            with suppress(TimeoutError):
                async with asyncio.timeout(pause):
                    await self._back.wait()
            pause = min(2 * pause, _LONGEST_PAUSE)

    async def _sweep(self) -> bool:
        """Try what waits, once; whether anything has been recorded."""
        recorded = 0
        failing: list[tuple[TurnRecord, Outcome]] = []
        for turns in self._order.conversations(await self._look()):
            for waiting in turns:
                if not self.holds(waiting.turn.request_id):
                    continue
                outcome = await self._try(waiting)
                if not outcome.settled:
                    failing.append((waiting.turn, outcome))
                    break
                recorded += 1
            if not recorded and len(failing) == _FAILURES_IN_A_ROW:
                break
        takes_others, self._commits = self._commits > 0, 0
        for turn, outcome in failing:
            if self._order.failed(turn, refused=takes_others or outcome is Outcome.UNFIT):
                self._waiting.pop(turn.request_id, None)
                logger.error("A turn is set aside until the next start: request %s", turn.request_id)
        if recorded:
            logger.info("%d turns that waited have been recorded", recorded)
        return recorded > 0

    async def _look(self) -> list[PendingTurn]:
        """The oldest turns that wait, of all processes."""
        known = set(self._waiting)
        limit = _BATCH + self._order.set_aside
        found, on_disk_too = await self._oldest(limit)
        if on_disk_too and len(found) < limit:
            # Others have recorded or deleted them.
            for request_id in known.difference(waiting.turn.request_id for waiting in found):
                self._waiting.pop(request_id, None)
                self._in_memory.pop(request_id, None)
        found = self._order.tried(found)
        for waiting in found:
            self._waiting[waiting.turn.request_id] = waiting.turn.conversation_id
        return found

    async def _oldest(self, limit: int) -> tuple[list[PendingTurn], bool]:
        """The oldest turns, and whether the disk could be read; else they are those in memory."""
        try:
            return await self._pending.oldest(limit), True
        except StorageError:
            return list(self._in_memory.values())[:limit], False

    async def _save_memory(self) -> None:
        """Give the disk another chance."""
        if not self._in_memory:
            return
        found, readable = await self._oldest(sys.maxsize)
        for waiting in found if readable else ():
            if waiting.turn.request_id in self._in_memory:
                if not await self._pending.add(waiting):
                    return
                self._in_memory.pop(waiting.turn.request_id, None)
