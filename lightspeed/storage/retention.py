"""Removing what is older than the configuration allows."""

import logging
from collections.abc import Awaitable, Callable
from datetime import datetime, timedelta

from lightspeed.configuration.retention import RetentionConfiguration
from lightspeed.errors import StorageError
from lightspeed.storage.erasure import ErasedData, Erasure
from lightspeed.storage.sweeping import EVERY, FIRST_AFTER, sweep

logger = logging.getLogger(__name__)


class Retention:
    """Several processes may do this at once; none of them waits for another."""

    def __init__(
        self,
        erasure: Erasure,
        configuration: RetentionConfiguration,
        *,
        first_after: float = FIRST_AFTER,
        every: float = EVERY,
    ) -> None:
        """The times are in seconds."""
        self._erasure = erasure
        self._configuration = configuration
        self._first_after = first_after
        self._every = every

    async def run(self) -> None:
        """Do so again and again until cancelled. Errors end up in the log."""
        await sweep(self.apply, "Data that is too old", first_after=self._first_after, every=self._every)

    async def apply(self, now: datetime) -> ErasedData:
        """Remove what is too old, and return how much that was.

        Raises StorageError, after everything else has been removed.
        """
        configuration, erasure = self._configuration, self._erasure
        failures: list[StorageError] = []

        async def removed(days: int | None, removal: Callable[[datetime], Awaitable[int]]) -> int:
            limit = _days_before(now, days)
            if limit is None:
                return 0
            try:
                return await removal(limit)
            except StorageError as error:
                failures.append(error)
                return 0

        erased = ErasedData(
            conversations=await removed(
                configuration.conversations_days, erasure.conversations_resting_since
            ),
            transcripts=await removed(configuration.transcripts_days, erasure.transcripts_before),
            feedback=await removed(configuration.feedback_days, erasure.feedback_before),
        )
        if erased:
            logger.info(
                "Removed for their age: %d conversations, %d transcripts, %d feedback",
                erased.conversations,
                erased.transcripts,
                erased.feedback,
            )
        if failures:
            raise failures[0]
        return erased


def _days_before(now: datetime, days: int | None) -> datetime | None:
    if days is None:
        return None
    try:
        return now - timedelta(days=days)
    except OverflowError:
        # Nothing is as old as that.
        return None
