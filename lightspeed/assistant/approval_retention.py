"""Ending paused Turns that have expired, and removing decisions that are too old."""

import logging
import random
from datetime import UTC, datetime, timedelta

import anyio

from lightspeed.assistant.pauses import Pauses
from lightspeed.errors import StorageError
from lightspeed.storage.approvals import Approvals

logger = logging.getLogger(__name__)

_EXPIRED_KEPT = timedelta(hours=24)
_FIRST_AFTER = 60.0  # seconds
_EVERY = 3600.0


class ApprovalRetention:
    """Several processes may do this at once; none of them waits for another."""

    def __init__(
        self,
        pauses: Pauses,
        approvals: Approvals,
        *,
        days: int,
        first_after: float = _FIRST_AFTER,
        every: float = _EVERY,
    ) -> None:
        """Decisions are kept for `days`; the other times are in seconds."""
        self._pauses = pauses
        self._approvals = approvals
        self._kept = timedelta(days=min(days, 100_000))
        self._first_after = first_after
        self._every = every

    async def run(self) -> None:
        """Do so again and again until cancelled. Errors end up in the log."""
        await anyio.sleep(self._first_after * random.uniform(0.5, 1.5))  # noqa: S311 - no secret
        while True:
            try:
                await self.apply(datetime.now(UTC))
            except StorageError:
                logger.error("Old approvals cannot be removed now; it is tried again later")
            except Exception:
                logger.exception("Old approvals cannot be removed")
            await anyio.sleep(self._every)

    async def apply(self, now: datetime) -> tuple[int, int]:
        """Returns how many turns were ended and how many approvals removed. Raises StorageError."""
        ended = await self._pauses.end_expired(now)
        removed = await self._approvals.remove_old(
            decided_before=now - self._kept, expired_before=now - _EXPIRED_KEPT
        )
        if ended or removed:
            logger.info("Paused turns that have expired: %d; old approvals removed: %d", ended, removed)
        return ended, removed
