"""A process that collects without end for each line that it reads, after telling its process id.

Arguments: the address, the directory of the data, the collector's own, and whether files are removed.
"""

import os
import sys
from functools import partial
from pathlib import Path

import anyio

from lightspeed.storage.collection.collector import Collector
from tests.storage.collection.settings import settings


async def collect(url: str, data: Path, directory: Path, cleanup: bool) -> None:
    roots = {"feedback": data / "feedback", "transcripts": data / "transcripts"}
    collector = Collector(
        settings(url, cleanup_after_send=cleanup), roots, directory, pauses=(), most_bytes=10_000
    )
    while True:
        await collector.collect_once()


if __name__ == "__main__":
    _, url, data, directory, cleanup = sys.argv
    for _ in sys.stdin:
        # Imports take a second; a fork has them.
        child = os.fork()
        if not child:
            anyio.run(partial(collect, url, Path(data), Path(directory), cleanup == "True"))
        print(child, flush=True)
        os.waitpid(child, 0)
        print("ended", flush=True)
