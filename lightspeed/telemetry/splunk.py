"""Events for Splunk: taken at once, sent in the background, kept while the collector is away."""

import asyncio
import json
import logging
import socket
import time
from collections import deque
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from lightspeed import __version__
from lightspeed.configuration.telemetry import SplunkConfiguration
from lightspeed.storage.collection.threads import run_to_end
from lightspeed.telemetry.splunk_collector import Fate, SplunkCollector
from lightspeed.telemetry.splunk_spool import SplunkSpool, SpooledBatch

logger = logging.getLogger(__name__)

_PAUSES = (1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 60.0)  # seconds before each further attempt; the last one repeats
_MOST_ON_DISK = 64 * 2**20  # bytes
_MOST_IN_MEMORY = 10_000  # events
_BATCH_EVENTS, _BATCH_BYTES = 100, 512 * 1024
_CLOSES_WITHIN = 3.0  # seconds


class SplunkSink:
    """Sends events to the HTTP Event Collector. Used between `start()` and `close()`, in one event loop.

    While the collector is away events wait on disk, also through a restart of the service. Each is sent at least once.
    """

    def __init__(
        self,
        settings: SplunkConfiguration,
        folder: Path,
        *,
        pauses: Sequence[float] = _PAUSES,
        most_on_disk: int = _MOST_ON_DISK,
    ) -> None:
        """`folder` is for events that wait; processes may share it."""
        self._index = settings.index
        self._source = f"{settings.source} (v{__version__})"
        self._host = socket.gethostname()
        self._collector = SplunkCollector(settings)
        self._spool = SplunkSpool(folder, most_bytes=most_on_disk)
        self._pauses = pauses
        self._waiting: deque[bytes] = deque()
        self._news = asyncio.Event()
        self._failures = 0
        self._trouble: str | None = None
        self._closing = False
        self._memory_overflows = False
        self._disk_fails = False
        self._task: asyncio.Task[None] | None = None

    @property
    def trouble(self) -> str | None:
        """Why events are not delivered at this moment; None if they are."""
        return self._trouble

    def start(self) -> None:
        """Send from now on, also what an earlier process has left."""
        self._task = asyncio.create_task(self._run(), name="Splunk events")

    def record(self, sourcetype: str, event: Mapping[str, Any]) -> None:
        """Take an event; never waits and never raises, whatever becomes of the request."""
        envelope = {
            "time": int(time.time()),
            "host": self._host,
            "source": self._source,
            "sourcetype": sourcetype,
            "index": self._index,
            "event": event,
        }
        try:
            encoded = json.dumps(envelope, separators=(",", ":")).encode()
        except (TypeError, ValueError):
            logger.exception("An event for Splunk cannot be written as JSON")
            return
        if len(self._waiting) >= _MOST_IN_MEMORY:
            self._waiting.popleft()
            if not self._memory_overflows:
                self._memory_overflows = True
                logger.error("Splunk events are lost: more than %d wait in memory", _MOST_IN_MEMORY)
        self._waiting.append(encoded)
        self._news.set()

    async def close(self, limit: float = _CLOSES_WITHIN) -> None:
        """Send what waits for at most `limit` seconds; what is left is on disk for the next start."""
        self._closing = True
        self._news.set()
        if self._task is not None:
            await asyncio.wait([self._task], timeout=limit)
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        while self._waiting and await self._spill():
            pass
        if self._waiting:
            logger.error("%d Splunk events are lost: they can be neither sent nor kept", len(self._waiting))
        await self._collector.close()

    async def _run(self) -> None:
        while not self._closing or self._waiting:
            failures = self._failures
            try:
                await self._work()
            except Exception as error:
                logger.debug("Splunk events cannot be sent", exc_info=True)
                self._tell_failure(f"{type(error).__name__}: {error}")
            if self._failures > failures:
                if self._closing:
                    return
                await self._pause()
            elif not self._waiting and not self._closing:
                self._news.clear()
                await self._news.wait()

    async def _work(self) -> None:
        """Send all that waits, oldest first; what is not taken goes to disk."""
        taken: bool | None = True
        while taken:
            taken = await self._send_spooled()
        if taken is None:
            while self._waiting and await self._send_waiting():
                pass
        while self._waiting and await self._spill():
            pass

    async def _pause(self) -> None:
        """Wait before the next attempt; what comes meanwhile goes to disk by the batch."""
        seconds = self._pauses[min(self._failures, len(self._pauses)) - 1]
        end = time.monotonic() + seconds
        while not self._closing and (rest := end - time.monotonic()) > 0:
            self._news.clear()
            if len(self._waiting) >= _BATCH_EVENTS:
                await self._spill()
            try:
                async with asyncio.timeout(rest):
                    await self._news.wait()
            except TimeoutError:
                return

    async def _send_spooled(self) -> bool | None:
        """Send the oldest batch on disk; False when it was not taken, None when there is none."""
        batch: SpooledBatch | None = None

        def hold() -> None:
            nonlocal batch
            batch = self._spool.oldest()

        settled = False
        try:
            try:
                await run_to_end(hold)
            except OSError as error:
                self._tell_disk_failure(error)
            if batch is None:
                return None
            settled = await self._send(batch.events)
        finally:
            if batch is not None:
                await run_to_end(partial(self._spool.give_back, batch, sent=settled))
        return settled

    async def _send_waiting(self) -> bool:
        """Send a batch from memory; what is not taken stays there."""
        batch = self._batch()
        settled = False
        try:
            settled = await self._send(batch)
        finally:
            if not settled:
                self._waiting.extendleft(reversed(batch))
        return settled

    async def _send(self, events: Sequence[bytes]) -> bool:
        """True when the collector has taken them, or never will."""
        reply = await self._collector.send(events)
        if reply.fate is Fate.LATER:
            self._tell_failure(reply.reason)
            return False
        if self._trouble is not None:
            logger.info("Splunk takes events again")
        self._failures, self._trouble, self._memory_overflows = 0, None, False
        if reply.fate is Fate.TOO_LARGE and len(events) > 1:
            half = len(events) // 2
            return await self._send(events[:half]) and await self._send(events[half:])
        if reply.fate is not Fate.TAKEN:
            logger.error("%d Splunk events are lost: %s", len(events), reply.reason)
        return True

    async def _spill(self) -> bool:
        """Move a batch to disk; False when that is not possible."""
        batch = self._batch()
        written = False

        def write() -> None:
            nonlocal written
            self._spool.add(batch)
            written = True

        try:
            await run_to_end(write)
        except OSError as error:
            self._tell_disk_failure(error)
        else:
            self._disk_fails = False
        finally:
            if not written:
                self._waiting.extendleft(reversed(batch))
        return written

    def _batch(self) -> list[bytes]:
        batch: list[bytes] = []
        size = 0
        while self._waiting and len(batch) < _BATCH_EVENTS:
            size += len(self._waiting[0])
            if batch and size > _BATCH_BYTES:
                break
            batch.append(self._waiting.popleft())
        return batch

    def _tell_disk_failure(self, error: OSError) -> None:
        if not self._disk_fails:
            logger.error("Splunk events cannot wait on disk: %s", error)
        self._disk_fails = True

    def _tell_failure(self, reason: str) -> None:
        if self._trouble is None:
            logger.warning("Splunk does not take events, they wait: %s", reason)
        self._failures += 1
        self._trouble = reason
