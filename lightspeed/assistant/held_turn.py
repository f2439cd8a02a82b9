"""A Turn that goes on after its pause, in this process and nowhere else."""

import asyncio
import logging
from datetime import UTC, datetime, timedelta
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from lightspeed.errors import Conflict, StorageError

if TYPE_CHECKING:
    from lightspeed.storage.paused_turns import PausedTurns

logger = logging.getLogger(__name__)


class HeldTurn:
    """Held while in `async with`, as long as the database can be told so."""

    def __init__(
        self, turns: "PausedTurns", request_id: str, holder: str, *, lease: float, timeout: timedelta
    ) -> None:
        """`lease` is in seconds; `timeout` is how long it may wait again, should this process die."""
        self._turns = turns
        self._request_id = request_id
        self._holder = holder
        self._lease = lease
        self._timeout = timeout
        self._holding: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        self._holding = asyncio.create_task(self._hold_on(), name=f"hold of turn {self._request_id}")
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._holding is not None:
            self._holding.cancel()

    async def keep(self, state: dict[str, Any]) -> None:
        """Keep how far the Turn has come. Raises Conflict if others hold it or it is gone, or StorageError."""
        if not await self._turns.keep(self._request_id, self._holder, state):
            raise Conflict(
                f"The turn {self._request_id} is not there any more, or others go on with it.",
                response="The turn goes on already",
            )

    async def is_mine(self) -> bool:
        """Whether it is there, and nobody else has taken it. A database that is away cannot say otherwise."""
        try:
            return await self._turns.is_held(self._request_id, self._holder)
        except StorageError:
            return True

    async def let_go(self) -> None:
        """Nothing was done: others may go on with it."""
        try:
            await self._turns.let_go(self._request_id, self._holder)
        except StorageError:
            logger.warning("A paused turn can be resumed only after %g seconds", self._lease)

    async def end(self) -> None:
        """It is recorded, and need not be kept any more."""
        try:
            await self._turns.remove(self._request_id)
        except StorageError:
            logger.error("A turn that has ended is still kept as paused, until it expires")

    async def _hold_on(self) -> None:
        while True:
            await asyncio.sleep(self._lease / 3)
            until = datetime.now(UTC) + timedelta(seconds=self._lease)
            try:
                expires_at = until + self._timeout
                await self._turns.hold_on(self._request_id, self._holder, until=until, expires_at=expires_at)
            except StorageError:
                logger.warning("A resumed turn cannot be held at this moment")
