"""Counting in several worker processes, so that each of them can tell what all have done."""

import fcntl
import logging
import os
import shutil
import struct
import tempfile
from collections import defaultdict
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Self

from prometheus_client import values
from prometheus_client.mmap_dict import MmapedDict
from prometheus_client.multiprocess import MultiProcessCollector, mark_process_dead

from lightspeed.errors import StartupError

logger = logging.getLogger(__name__)

_LOCK = "lock"
_NOBODY = 0  # in place of a process id: what the dead have counted
_SUMMED = ("counter", "histogram")


class SharedFolder:
    """Where the workers of one service count: prometheus_client keeps a few small files for each process there."""

    def __init__(self, path: Path) -> None:
        self.path = path

    @classmethod
    @contextmanager
    def temporary(cls) -> Iterator[Self]:
        """A new folder that only its owner can read, until the end of the context. Raises StartupError."""
        try:
            path = Path(tempfile.mkdtemp(prefix="lightspeed-metrics-"))
            (path / _LOCK).touch()
            held = os.open(path, os.O_RDONLY)
        except OSError as error:
            raise StartupError(
                f"cannot make a temporary directory for the metrics of the workers: {error.strerror}"
            ) from None
        try:
            fcntl.flock(held, fcntl.LOCK_SH)  # what cleans up temporary directories leaves locked ones alone
            yield cls(path)
        finally:
            os.close(held)
            cls(path).remove()

    def count_here(self) -> None:
        """From now on all metrics of this process are kept in the folder, those that it has made already excepted."""
        os.environ["PROMETHEUS_MULTIPROC_DIR"] = str(self.path)
        values.ValueClass = values.MultiProcessValue()

    def collect(self) -> Iterable[Any]:
        """The sums over all processes, the dead ones included; none when the folder is gone, as after a killed parent."""
        try:
            with self._locked(fcntl.LOCK_SH):
                # A process that begins makes its files, and only then fills them.
                files = [str(file) for file in self.path.glob("*.db") if file.stat().st_size]
                return list(MultiProcessCollector.merge(files))
        except FileNotFoundError:
            return []

    def bury(self, pid: int) -> None:
        """Keep what a dead process has counted, but none of its gauges. Logs what cannot be kept."""
        try:
            with self._locked(fcntl.LOCK_EX):
                mark_process_dead(pid, str(self.path))
                for kind in _SUMMED:
                    self._inherit(self._file(kind, pid), self._file(kind, _NOBODY))
        except OSError as error:
            logger.error("What worker %d has counted cannot be kept: %s", pid, error.strerror)

    def remove(self) -> None:
        shutil.rmtree(self.path, ignore_errors=True)

    def _inherit(self, dead: Path, heir: Path) -> None:
        """Add a file to another, so that there are not more and more files to be read."""
        if not dead.exists():
            return
        sums: defaultdict[str, float] = defaultdict(float)
        for file in (heir, dead):
            for key, value in _read(file):
                sums[key] += value
        new = heir.with_suffix(".new")
        new.unlink(missing_ok=True)
        written = MmapedDict(str(new))
        for key, value in sums.items():
            written.write_value(key, value, 0.0)
        written.close()
        new.rename(heir)
        dead.unlink()

    def _file(self, kind: str, pid: int) -> Path:
        return self.path / f"{kind}_{pid}.db"

    @contextmanager
    def _locked(self, how: int) -> Iterator[None]:
        """Nobody reads while files are joined: else something would be counted twice, or not at all."""
        with (self.path / _LOCK).open("rb") as lock:
            fcntl.flock(lock, how)
            yield


def _read(file: Path) -> list[tuple[str, float]]:
    if not file.exists():
        return []
    try:
        return [(key, value) for key, value, *_ in MmapedDict.read_all_values_from_file(str(file))]
    except (RuntimeError, ValueError, struct.error):
        logger.warning("A file of counters was left unfinished, and is dropped: %s", file.name)
        return []
