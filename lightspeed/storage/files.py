"""Files that a reader sees whole or not at all, also after a crash."""

import fcntl
import logging
import os
import secrets
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from lightspeed.errors import StorageError

logger = logging.getLogger(__name__)

# The exporter ships and deletes every *.json that it finds, so that unfinished files are called otherwise.
_TEMPORARY_SUFFIX = ".partial"
_ATTEMPTS = 100


def write_atomically(path: Path, data: bytes, *, mode: int = 0o600) -> None:
    """Write or replace a file; when this returns, the file survives a loss of power.

    Missing directories are made, also when a cleaner removes them meanwhile. Raises OSError; then nothing
    is left behind.
    """
    for attempt in range(_ATTEMPTS):
        try:
            _write_once(path, data, mode, made_in=_make_directories(path.parent))
        except (FileNotFoundError, BlockingIOError):
            # A cleaner was faster: the directory or the temporary file is gone.
            if attempt == _ATTEMPTS - 1:
                raise
        else:
            return


def write_all(descriptor: int, data: bytes) -> None:
    """Write past all buffers: a full disk is noticed here, and not when the file is closed. Raises OSError."""
    rest = memoryview(data)
    while rest:
        rest = rest[os.write(descriptor, rest) :]


@contextmanager
def reported(task: str, detail: str = "") -> Iterator[None]:
    """Tell the log what is wrong with a file, and the client only that `task` has failed, as a StorageError."""
    try:
        yield
    except OSError as error:
        logger.error("Failed to %s: %s", task, error)
        raise StorageError(f"Failed to {task}{detail}", response=f"Failed to {task}") from None


def make_directories(path: Path) -> None:
    """Make a directory and its missing parents, for their owner only, so that they survive a loss of power."""
    for parent in _make_directories(path):
        _sync_directory(parent)


def _make_directories(path: Path) -> list[Path]:
    """The directories in which new ones were made, and which are still to be synced."""
    if path.is_dir():
        return []
    made_in = _make_directories(path.parent)
    try:
        path.mkdir(mode=0o700)
    except FileExistsError:
        if not path.is_dir():
            raise
    else:
        made_in.append(path.parent)
    return made_in


def remove_stale_temporaries(root: Path) -> int:
    """Remove what killed writers left below `root`, but nothing that is being written. Returns how many."""
    removed = 0
    for directory, _, names in os.walk(root):
        for name in names:
            if name.startswith(".") and name.endswith(_TEMPORARY_SUFFIX):
                removed += _remove_if_abandoned(Path(directory, name))
    return removed


def _write_once(path: Path, data: bytes, mode: int, *, made_in: list[Path]) -> None:
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(8)}{_TEMPORARY_SUFFIX}")
    descriptor = os.open(temporary, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC, mode)
    try:
        # The lock tells remove_stale_temporaries that the writer lives; it ends with the process.
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        # Not before: a directory that holds a file is safe from cleaners.
        for parent in made_in:
            _sync_directory(parent)
        write_all(descriptor, data)
        os.fsync(descriptor)
        temporary.rename(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    finally:
        os.close(descriptor)
    _sync_directory(path.parent)


def _sync_directory(path: Path) -> None:
    # A cleaner may have taken the file and its directory already: then there is nothing to sync.
    with suppress(FileNotFoundError):
        descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def _remove_if_abandoned(path: Path) -> bool:
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            return False
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        path.unlink()
    except OSError:
        return False
    finally:
        os.close(descriptor)
    return True
