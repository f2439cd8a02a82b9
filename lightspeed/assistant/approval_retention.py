"""Ending paused Turns that have expired, and removing decisions that are too old."""

import logging
from datetime import datetime, timedelta

from lightspeed.assistant.pauses import Pauses
from lightspeed.storage.approvals import Approvals
from lightspeed.storage.sweeping import EVERY, FIRST_AFTER, sweep

logger = logging.getLogger(__name__)

_EXPIRED_KEPT = timedelta(hours=24)


class ApprovalRetention:
    """Several processes may do this at once; none of them waits for another."""

    def __init__(
        self,
        pauses: Pauses,
        approvals: Approvals,
        *,
        days: int,
        first_after: float = FIRST_AFTER,
        every: float = EVERY,
    ) -> None:
        """Decisions are kept for `days`; the other times are in seconds."""
        self._pauses = pauses
        self._approvals = approvals
        self._kept = timedelta(days=min(days, 100_000))
        self._first_after = first_after
        self._every = every

    async def run(self) -> None:
        """Do so again and again until cancelled. Errors end up in the log."""
        await sweep(self.apply, "Old approvals", first_after=self._first_after, every=self._every)

    async def apply(self, now: datetime) -> tuple[int, int]:
        """Returns how many turns were ended and how many approvals removed. Raises StorageError."""
        ended = await self._pauses.end_expired(now)
        removed = await self._approvals.remove_old(
            decided_before=now - self._kept, expired_before=now - _EXPIRED_KEPT
        )
        if ended or removed:
            logger.info("Paused turns that have expired: %d; old approvals removed: %d", ended, removed)
        return ended, removed
