"""Settlements that must not be lost: made at once, or when the database is back."""

import asyncio
import logging
from collections import deque
from collections.abc import Coroutine, Iterable
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from lightspeed.errors import StorageError
from lightspeed.storage.quota_records import Settlement

if TYPE_CHECKING:
    from lightspeed.storage.quotas import Quotas

logger = logging.getLogger(__name__)

_CALLER_WAITS = 2.0  # seconds
_CLOSES_WITHIN = 5.0
_SHORTEST_PAUSE, _LONGEST_PAUSE = 1.0, 30.0
_MOST_IN_MEMORY = 10_000
_FAILURES_IN_A_ROW = 2  # then the database is away


class Settling:
    """Ends calls, whoever is cancelled meanwhile. Used in one event loop until `close()`."""

    def __init__(
        self, quotas: "Quotas", *, most_in_memory: int = _MOST_IN_MEMORY, pause: float = _SHORTEST_PAUSE
    ) -> None:
        """`pause` is what passes, in seconds, until what has failed is tried again; it grows."""
        self._quotas = quotas
        self._most_in_memory = most_in_memory
        self._shortest_pause = pause
        self._running: set[asyncio.Task[None]] = set()
        self._waiting: deque[Settlement] = deque()
        self._retrying: asyncio.Task[None] | None = None
        self._ending = asyncio.Event()

    @property
    def waiting(self) -> int:
        """How many settlements wait for the database."""
        return len(self._waiting)

    async def settle(self, ending: Coroutine[Any, Any, Settlement | None]) -> None:
        """Settle what a call comes to; never raises. A database that is slow is not waited for."""
        task = asyncio.create_task(self._settle(ending))
        self._running.add(task)
        task.add_done_callback(self._running.discard)
        await asyncio.wait([task], timeout=_CALLER_WAITS)

    async def close(self) -> None:
        """Bring to an end what is under way, and try once more what waits. What cannot be kept is logged."""
        if self._running:
            await asyncio.wait(self._running, timeout=_CLOSES_WITHIN)
        if unfinished := len(self._running):
            logger.error("%d calls of a model cannot be settled: the database does not answer", unfinished)
        # Not cancelled in the midst of a transaction, or it would be made twice.
        self._ending.set()
        if self._retrying is not None:
            await asyncio.wait([self._retrying], timeout=_CLOSES_WITHIN)
        if self._waiting:
            _log_lost(self._waiting)
            self._waiting.clear()

    async def _settle(self, ending: Coroutine[Any, Any, Settlement | None]) -> None:
        try:
            settlement = await ending
        except Exception:
            logger.exception("The tokens of a call cannot be counted")
            return
        if settlement is None:
            return
        # While others wait the database is away, and would not answer this one either.
        if self._waiting or not await self._done(settlement):
            self._keep(settlement)

    def _keep(self, settlement: Settlement) -> None:
        self._waiting.append(settlement)
        if len(self._waiting) > self._most_in_memory:
            _log_lost([self._waiting.popleft()])
        if self._retrying is None or self._retrying.done():
            logger.error("Tokens could not be settled; this waits in memory for the database")
            self._retrying = asyncio.create_task(self._retry(), name="settlements that wait")

    async def _retry(self) -> None:
        pause = self._shortest_pause
        while self._waiting:
            with suppress(TimeoutError):
                async with asyncio.timeout(pause):
                    await self._ending.wait()
            if settled := await self._sweep():
                logger.info("%d settlements that waited have been made", settled)
            elif self._ending.is_set():
                return
            pause = self._shortest_pause if settled else min(2 * pause, _LONGEST_PAUSE)

    async def _sweep(self) -> int:
        """Try what waits, the oldest first; returns how many have been settled."""
        settled = failed = 0
        for _ in range(len(self._waiting)):
            if failed == _FAILURES_IN_A_ROW and not settled:
                break
            if not self._waiting:
                break
            settlement = self._waiting[0]
            done = await self._done(settlement)
            if self._waiting and self._waiting[0] is settlement:
                self._waiting.popleft()
                if not done:
                    self._waiting.append(settlement)
            settled += done
            failed += not done
        return settled

    async def _done(self, settlement: Settlement) -> bool:
        try:
            await self._quotas.settle(settlement)
        except StorageError:
            # The database has told the log what is wrong with it.
            return False
        except Exception:
            logger.exception("Tokens cannot be settled")
            return False
        return True


def _log_lost(settlements: Iterable[Settlement]) -> None:
    lost = list(settlements)
    charged = sum(settlement.due for settlement in lost if settlement.due > 0)
    returned = -sum(settlement.due for settlement in lost if settlement.due < 0)
    used = [settlement.usage for settlement in lost if settlement.usage is not None]
    logger.error(
        "%d settlements are lost: %d tokens are not charged, %d are not given back, "
        "and %d are missing in the token history",
        len(lost),
        charged,
        returned,
        sum(usage.input_tokens + usage.output_tokens for usage in used),
    )
