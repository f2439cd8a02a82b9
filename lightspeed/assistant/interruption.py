"""Stopping a stream, whichever process of the service runs it."""

import asyncio
import logging
import time
from collections.abc import Collection
from contextlib import suppress
from typing import Protocol

from lightspeed.assistant.turn import Turn
from lightspeed.errors import StorageError
from lightspeed.storage.interrupts import Interrupts, Outcome, Wish

logger = logging.getLogger(__name__)

_LOOKS_EVERY = 0.2  # seconds
_WAITS_AT_MOST = 2.0


class RunningTurns(Protocol):
    """The Turns of this process."""

    @property
    def running_requests(self) -> Collection[str]: ...
    def running(self, request_id: str) -> Turn | None: ...


class Interruptions:
    """Stops Turns of this process at once, and those of others through the database.

    `shared` says that there may be others; without them the database is not asked.
    """

    def __init__(self, turns: RunningTurns, interrupts: Interrupts, *, shared: bool) -> None:
        self._turns = turns
        self._interrupts = interrupts
        self._shared = shared
        self._watch: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Look for the wishes of other processes from now on."""
        if self._shared:
            self._watch = asyncio.create_task(self._watch_wishes(), name="wishes to interrupt")

    async def close(self) -> None:
        """Stop looking."""
        if self._watch is not None:
            self._watch.cancel()
            await asyncio.wait([self._watch])

    async def interrupt(self, request_id: str, user_id: str) -> Outcome | None:
        """Stop a stream; None if nobody runs it. Raises StorageError when others cannot be asked."""
        wish = Wish(request_id, user_id)
        outcome = self._fulfil(wish)
        if outcome is not None or not self._shared:
            return outcome
        await self._interrupts.place(wish)
        try:
            return await self._settled(wish)
        finally:
            with suppress(StorageError):
                await self._interrupts.withdraw(wish)

    def _fulfil(self, wish: Wish) -> Outcome | None:
        turn = self._turns.running(wish.request_id)
        if turn is None:
            return None
        if turn.user_id != wish.user_id:
            return "foreign"
        return "interrupted" if turn.interrupt() else "completed"

    async def _settled(self, wish: Wish) -> Outcome | None:
        deadline = time.monotonic() + _WAITS_AT_MOST
        while time.monotonic() < deadline:
            await asyncio.sleep(_LOOKS_EVERY / 2)
            outcome = await self._interrupts.outcome(wish)
            if outcome is not None:
                return outcome
        return None

    async def _watch_wishes(self) -> None:
        while True:
            await asyncio.sleep(_LOOKS_EVERY)
            if requests := self._turns.running_requests:
                # The database has told the log what is wrong with it.
                with suppress(StorageError):
                    await self._settle_wishes(requests)

    async def _settle_wishes(self, requests: Collection[str]) -> None:
        for wish in await self._interrupts.unsettled(requests):
            outcome = self._fulfil(wish)
            if outcome is not None:
                await self._interrupts.settle(wish, outcome)
