"""Beginning new periods when old ones end."""

import logging

import anyio

from lightspeed.configuration.quota import QuotaSchedulerConfiguration
from lightspeed.errors import StorageError
from lightspeed.storage.quotas import Quotas

logger = logging.getLogger(__name__)

_LONG_PAUSE = 30.0  # seconds


class QuotaRefills:
    """Runs in every process; each balance is refilled once all the same."""

    def __init__(self, quotas: Quotas, configuration: QuotaSchedulerConfiguration) -> None:
        self._quotas = quotas
        self._configuration = configuration
        self._failures = 0

    async def run(self) -> None:
        """Sweep again and again until cancelled. While the database is away, the log tells so once."""
        while True:
            try:
                refilled = await self._quotas.refill()
            except StorageError:
                if not self._failures:
                    logger.error("Quotas cannot be refilled now; it is tried again")
                await self._database_answers()
                continue
            except Exception:
                logger.exception("Quotas cannot be refilled")
                await anyio.sleep(_LONG_PAUSE)
                continue
            if self._failures:
                logger.info("Quotas are refilled again")
                self._failures = 0
            if refilled:
                logger.debug("%d quotas have been refilled", refilled)
            await anyio.sleep(self._configuration.period)

    async def _database_answers(self) -> None:
        trouble: str | None = ""
        while trouble is not None:
            await anyio.sleep(self._pause())
            self._failures += 1
            # Asks without a line in the log for each attempt.
            trouble = await self._quotas.database.trouble()

    def _pause(self) -> float:
        scheduler = self._configuration
        pause = float(scheduler.database_reconnection_delay)
        patient = self._failures >= scheduler.database_reconnection_count
        return max(pause, _LONG_PAUSE) if patient else pause
