"""Events that wait on disk until Splunk takes them."""

import fcntl
import logging
import os
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from uuid import uuid4

from lightspeed.storage.files import write_atomically
from lightspeed.storage.removal import names_in

logger = logging.getLogger(__name__)

# Not .json: an exporter that is given the folder above ships and deletes every such file.
_SUFFIX = ".events"


@dataclass(frozen=True, slots=True)
class SpooledBatch:
    """A file of events, one a line, held by a lock so that no other process sends it too."""

    path: Path
    events: Sequence[bytes]
    descriptor: int


class SplunkSpool:
    """A folder that all processes of the service share. All methods block."""

    def __init__(self, folder: Path, *, most_bytes: int) -> None:
        """What is beyond `most_bytes` is lost, oldest first; the newest batch always stays."""
        self._folder = folder
        self._most_bytes = most_bytes

    def add(self, events: Sequence[bytes]) -> None:
        """Keep a batch. Raises OSError."""
        path = self._folder / f"{time.time_ns():020d}-{uuid4().hex}{_SUFFIX}"
        write_atomically(path, b"".join(event + b"\n" for event in events))
        self._trim()

    def oldest(self) -> SpooledBatch | None:
        """The batch that has waited longest and that no other process is sending; to be given back in any case.

        Raises OSError.
        """
        for name in self._names():
            if (batch := self._held(self._folder / name)) is not None:
                return batch
        return None

    def give_back(self, batch: SpooledBatch, *, sent: bool) -> None:
        """Raises OSError."""
        try:
            if sent:
                batch.path.unlink(missing_ok=True)
        finally:
            os.close(batch.descriptor)

    def _names(self) -> list[str]:
        return sorted(name for name in names_in(self._folder) if name.endswith(_SUFFIX))

    def _held(self, path: Path) -> SpooledBatch | None:
        try:
            descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
        except FileNotFoundError:
            return None
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if os.fstat(descriptor).st_nlink:  # else another process has sent it
                with open(descriptor, "rb", closefd=False) as file:
                    return SpooledBatch(path, file.read().splitlines(), descriptor)
        except BlockingIOError:
            pass
        except BaseException:
            os.close(descriptor)
            raise
        os.close(descriptor)
        return None

    def _trim(self) -> None:
        sizes: dict[Path, int] = {}
        for name in self._names():
            with suppress(FileNotFoundError):
                path = self._folder / name
                sizes[path] = path.stat().st_size
        total = sum(sizes.values())
        for path, size in list(sizes.items())[:-1]:
            if total <= self._most_bytes:
                return
            path.unlink(missing_ok=True)
            total -= size
            logger.error(
                "Splunk events are lost: more than %d MB wait for the collector", self._most_bytes // 2**20
            )
