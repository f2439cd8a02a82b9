"""`lightspeed collect`: feedback and transcripts to an ingress server, without the service."""

import asyncio
import os
import signal
from pathlib import Path

import anyio
from rich.console import Console

from lightspeed.configuration.loading import state_directory
from lightspeed.configuration.root import Configuration
from lightspeed.errors import ConfigurationError, StartupError
from lightspeed.storage.collection.collector import Collector, collected_directories
from lightspeed.storage.collection.report import CollectionReport


def collect_command(configuration: Configuration, source: Path, *, once: bool) -> int:
    """Collect at each interval until a signal comes, or once. Returns 0, or 1 when one pass has not sent everything.

    Raises ConfigurationError when the section is not enabled, and StartupError when another one is at work.
    """
    collection = configuration.user_data_collection
    settings = collection.data_collector
    section = f"{source}: user_data_collection"
    if not settings.enabled:
        raise ConfigurationError(f"{section}.data_collector.enabled: must be true")
    roots = collected_directories(collection)
    if not roots:
        raise ConfigurationError(f"{section}: needs `feedback_storage` or `transcripts_storage`")
    directory = state_directory(os.environ) / "collector"
    collector = Collector(settings, roots, directory)
    try:
        return anyio.run(_collect, collector, once, backend_options={"use_uvloop": True})
    except OSError as error:
        raise StartupError(f"{error.filename or directory}: {error.strerror}") from None


async def _collect(collector: Collector, once: bool) -> int:
    task = asyncio.create_task(_once(collector) if once else _repeatedly(collector))
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, task.cancel)
    try:
        return await task
    except asyncio.CancelledError:
        # What was under way goes on with the next start.
        return 1 if once else 0


async def _once(collector: Collector) -> int:
    report = await collector.collect_once()
    _tell(report)
    return 1 if report.failures else 0


async def _repeatedly(collector: Collector) -> int:
    await collector.repeat(_tell)


def _tell(report: CollectionReport) -> None:
    Console(stderr=True, highlight=False).print(str(report), markup=False, soft_wrap=True)
