"""One collector at a time."""

import fcntl
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from lightspeed.storage.collection.threads import run_to_end
from lightspeed.storage.files import make_directories


class FileLock:
    """Held by one owner on this machine; the kernel gives it back when the owner's process ends."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._descriptor: int | None = None

    def acquire(self) -> bool:
        """False if another one holds it. Raises OSError when the file cannot be made."""
        make_directories(self._path.parent)
        self._descriptor = os.open(self._path, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            self.release()
        return self._descriptor is not None

    def release(self) -> None:
        descriptor, self._descriptor = self._descriptor, None
        if descriptor is not None:
            os.close(descriptor)


@asynccontextmanager
async def locked(path: Path) -> AsyncIterator[bool]:
    """A lock for the time of the block, or False if another one holds it. Raises OSError."""
    lock = FileLock(path)
    try:
        yield await run_to_end(lock.acquire)
    finally:
        await run_to_end(lock.release)
