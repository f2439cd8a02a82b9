"""Feedback and transcripts, sent to an ingress server at each interval."""

import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence
from pathlib import Path
from typing import Never

import anyio

from lightspeed.configuration.data_collector import DataCollector
from lightspeed.configuration.storage import UserDataCollection
from lightspeed.errors import LightspeedError, StartupError
from lightspeed.storage.collection.ingress import PAUSES, Ingress
from lightspeed.storage.collection.kind import KindCollection
from lightspeed.storage.collection.lock import locked
from lightspeed.storage.collection.report import CollectionReport
from lightspeed.storage.collection.threads import run_to_end
from lightspeed.storage.files import remove_stale_temporaries

logger = logging.getLogger(__name__)

_MOST_BYTES = 100 * 1024 * 1024


def collected_directories(collection: UserDataCollection) -> dict[str, Path]:
    """The directories that are configured, by kind. What is switched off now may have been collected before."""
    directories = {"feedback": collection.feedback_storage, "transcripts": collection.transcripts_storage}
    return {kind: Path(root) for kind, root in directories.items() if root is not None}


class Collector:
    """Sends the files below `roots`, a directory for each kind, and then removes them if it is to.

    `directory` is for its own files. Collectors that share it, in whatever process, work one at a time.
    It may be cancelled or killed at any moment: what was under way is sent again under the same name and
    with the same content, and what was confirmed is not sent again.
    """

    def __init__(
        self,
        settings: DataCollector,
        roots: Mapping[str, Path],
        directory: Path,
        *,
        pauses: Sequence[float] = PAUSES,
        sleep: Callable[[float], Awaitable[None]] = anyio.sleep,
        most_bytes: int = _MOST_BYTES,
    ) -> None:
        self._settings = settings
        self._roots = dict(roots)
        self._directory = directory
        self._pauses = pauses
        self._sleep = sleep
        self._most_bytes = most_bytes

    async def run(self) -> None:
        """Collect until cancelled. Where several run, one works and the others try again at each interval."""
        while True:
            try:
                await self.repeat(_log)
            except StartupError as error:
                logger.debug("Data collector: %s", error)
            except Exception as error:
                logger.debug("The data collector failed", exc_info=True)
                logger.error("Data collector: %s", _reason(error))
            await anyio.sleep(self._settings.collection_interval)

    async def repeat(self, tell: Callable[[CollectionReport], None]) -> Never:
        """A pass at each interval until cancelled, whatever becomes of one.

        Raises StartupError when another collector does so here, and OSError when its directory cannot be used.
        """
        async with locked(self._directory / "loop.lock") as alone:
            if not alone:
                raise self._busy()
            while True:
                try:
                    report = await self.collect_once()
                except Exception as error:
                    logger.debug("A pass failed", exc_info=True)
                    report = CollectionReport(failures=[_reason(error)])
                tell(report)
                await anyio.sleep(self._settings.collection_interval)

    async def collect_once(self) -> CollectionReport:
        """Send all that is there. Raises StartupError when another pass is at work here, or OSError."""
        async with locked(self._directory / "pass.lock") as alone:
            if not alone:
                raise self._busy()
            await run_to_end(remove_stale_temporaries, self._directory)
            report = CollectionReport()
            real = await run_to_end(self._real_roots)
            async with Ingress(self._settings, pauses=self._pauses, sleep=self._sleep) as ingress:
                for kind, root in self._roots.items():
                    collection = KindCollection(
                        kind,
                        root,
                        self._directory,
                        ingress,
                        report,
                        elsewhere=frozenset(real[other] for other in real if other != kind),
                        cleanup=self._settings.cleanup_after_send,
                        most_bytes=self._most_bytes,
                    )
                    try:
                        await collection.run()
                    except Exception as error:
                        logger.debug("A pass failed for %s", kind, exc_info=True)
                        report.failures.append(f"{kind}: {_reason(error)}")
            return report

    def _real_roots(self) -> dict[str, str]:
        return {kind: str(root.resolve()) for kind, root in self._roots.items()}

    def _busy(self) -> StartupError:
        return StartupError(f"another data collector is at work in {self._directory}; try again later")


def _log(report: CollectionReport) -> None:
    if report.failures:
        logger.error("Data collector: %s", report)
    elif report.archives:
        logger.info("Data collector: %s", report)


def _reason(error: Exception) -> str:
    return str(error) if isinstance(error, LightspeedError | OSError) else f"{type(error).__name__}: {error}"
