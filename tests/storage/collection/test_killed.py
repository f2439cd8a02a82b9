"""Killed at any moment: nothing is lost, and what comes twice can be told."""

import os
import random
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Self

import pytest

from lightspeed.storage.collection.collector import Collector
from tests.storage.collection.ingress import IngressServer, Upload
from tests.storage.collection.settings import settings

pytestmark = pytest.mark.anyio

ROOT = Path(__file__).parents[3]


def write_some(data: Path, round_: int) -> set[str]:
    names = {f"feedback/{round_}-{number}.json" for number in range(40)}
    names |= {f"transcripts/{number % 3}/{round_}/{number}.json" for number in range(40)}
    for name in names:
        (data / name).parent.mkdir(parents=True, exist_ok=True)
        (data / name).write_bytes(name.encode() * 20)
    return names


def there(data: Path) -> set[str]:
    return {str(path.relative_to(data)) for path in data.rglob("*.json")}


def own_files(directory: Path, pattern: str) -> list[Path]:
    return list(directory.glob(pattern))


def in_archives(uploads: list[Upload]) -> set[str]:
    return {name for upload in uploads for name in upload.files()}


class Collecting:
    """Processes that collect, one at a time, and are killed."""

    def __init__(self, server: IngressServer, data: Path, directory: Path, *, cleanup: bool) -> None:
        self._server = server
        command = [sys.executable, "-m", "tests.storage.collection.collecting"]
        arguments = [server.url, str(data), str(directory), str(cleanup)]
        self._parent = subprocess.Popen(
            [*command, *arguments], cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

    def start_and_kill(self, chance: random.Random) -> None:
        """Kill while or shortly after one of the archives arrives."""
        arrived = threading.Event()
        waited_for = len(self._server.uploads) + chance.randrange(1, 14)

        def note(_: Upload) -> None:
            if len(self._server.uploads) >= waited_for:
                arrived.set()

        self._server.on_upload = note
        process = int(self._tell("\n"))
        try:
            assert arrived.wait(30)
            time.sleep(chance.random() * 0.01)  # any moment will do
        finally:
            os.kill(process, signal.SIGKILL)
        assert self._tell("") == "ended\n"

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._parent.communicate()

    def _tell(self, text: str) -> str:
        assert self._parent.stdin is not None
        assert self._parent.stdout is not None
        self._parent.stdin.write(text)
        self._parent.stdin.flush()
        return self._parent.stdout.readline()


@pytest.mark.parametrize(("cleanup", "rounds"), [(True, 8), (False, 4)])
async def test_a_killed_collector_loses_nothing(
    server: IngressServer, tmp_path: Path, cleanup: bool, rounds: int
) -> None:
    data, directory = tmp_path / "data", tmp_path / "collector"
    chance = random.Random(5)
    written: set[str] = set()
    in_the_middle = 0
    with Collecting(server, data, directory, cleanup=cleanup) as collecting:
        for number in range(rounds):
            written |= write_some(data, number)
            collecting.start_and_kill(chance)
            in_the_middle += bool(own_files(directory, "*.batch"))
            assert written - there(data) <= in_archives(server.confirmed)
    assert in_the_middle  # otherwise no process was killed while a batch was under way
    roots = {"feedback": data / "feedback", "transcripts": data / "transcripts"}
    collector = Collector(settings(server.url, cleanup_after_send=cleanup), roots, directory)
    for _ in range(2):
        assert (await collector.collect_once()).failures == []
    assert in_archives(server.uploads) == written
    assert there(data) == (set() if cleanup else written)
    assert own_files(directory, "*.batch") + own_files(directory, ".*") == []

    contents = {(upload.name, upload.archive) for upload in server.uploads}
    names = {name for name, _ in contents}
    assert len(contents) == len(names)
    # No file came under the names of two archives.
    by_name = {upload.name: upload.files() for upload in server.uploads}
    assert sum(map(len, by_name.values())) == len(written)
