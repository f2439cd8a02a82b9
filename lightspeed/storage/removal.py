"""Removing files below a root, and nothing else.

The root itself may be a symbolic link; below it none is followed, also when one takes the place of a folder
meanwhile. What others remove meanwhile is no error. All functions block, and raise OSError.
"""

import errno
import os
import stat
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from datetime import datetime
from pathlib import Path

type Name = Callable[[str], object]
"""Whether an entry of a folder is one of ours."""

_ATTEMPTS = 100


def remove_folder(root: Path, *names: str) -> int:
    """Remove `root/name/name/...` with all that is in it; returns how many JSON files that were.

    The folders above that this empties go too, but not the root.
    """
    removed = 0
    *above, last = names
    with suppress(FileNotFoundError), _folder(root, above) as descriptor:
        removed = _remove(last, descriptor)
    while above:
        last = above.pop()
        # It stays while it holds anything.
        with suppress(OSError), _folder(root, above) as descriptor:
            os.rmdir(last, dir_fd=descriptor)
    return removed


def count_files(root: Path, *names: str) -> int:
    """How many JSON files `remove_folder` would remove."""
    with suppress(FileNotFoundError), _folder(root, names) as descriptor:
        return sum(name.endswith(".json") for _, _, files, _ in os.fwalk(dir_fd=descriptor) for name in files)
    return 0


def remove_older(root: Path, names: Iterable[str], before: datetime, shape: Sequence[Name]) -> int:
    """Remove what was written before of `root/name`, and the folders that this empties; returns how many files.

    `shape` tells the names of ours at each depth below the root: folders first, files last. Nothing else is touched.
    """
    with suppress(FileNotFoundError), _folder(root, ()) as descriptor:
        return _remove_older(descriptor, names, before.timestamp(), shape)
    return 0


def names_in(root: Path) -> list[str]:
    """The entries of a folder, none if it is missing."""
    with suppress(FileNotFoundError):
        return [path.name for path in root.iterdir()]
    return []


def read_file(root: Path, name: str) -> bytes | None:
    """The content of `root/name`; None if it is missing, or no file."""
    try:
        descriptor = os.open(root / name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        # A symbolic link, or a device or socket that nobody listens to.
        if error.errno in (errno.ENOENT, errno.ELOOP, errno.ENXIO):
            return None
        raise
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        return None
    with open(descriptor, "rb") as file:  # noqa: PTH123 - a descriptor
        return file.read()


def _remove(name: str, parent: int) -> int:
    removed = 0
    for _ in range(_ATTEMPTS):
        try:
            with _opened(name, parent) as folder:
                removed += _empty(folder)
            os.rmdir(name, dir_fd=parent)
        except FileNotFoundError:
            return removed
        except OSError as error:
            # A writer was faster, and the folder is not empty any more.
            if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
                raise
        else:
            return removed
    raise OSError(errno.ENOTEMPTY, "files are added faster than they are removed", name)


def _empty(folder: int) -> int:
    removed = 0
    with os.scandir(folder) as entries:
        found = list(entries)
    for entry in found:
        if entry.is_dir(follow_symlinks=False):
            removed += _remove(entry.name, folder)
        else:
            removed += _unlink(entry.name, folder) and entry.name.endswith(".json")
    return removed


def _remove_older(folder: int, names: Iterable[str], limit: float, shape: Sequence[Name]) -> int:
    is_ours, *deeper = shape
    removed = 0
    for name in filter(is_ours, names):
        with suppress(FileNotFoundError):
            status = os.stat(name, dir_fd=folder, follow_symlinks=False)
            if not deeper:
                old = stat.S_ISREG(status.st_mode) and status.st_mtime < limit
                removed += old and _unlink(name, folder)
            elif stat.S_ISDIR(status.st_mode):
                with _opened(name, folder) as inner:
                    removed += _remove_older(inner, os.listdir(inner), limit, deeper)  # noqa: PTH208 - a descriptor
                # It stays while it holds anything.
                with suppress(OSError):
                    os.rmdir(name, dir_fd=folder)
    return removed


def _unlink(name: str, folder: int) -> bool:
    try:
        os.unlink(name, dir_fd=folder)
    except FileNotFoundError:
        return False
    return True


@contextmanager
def _folder(root: Path, names: Sequence[str]) -> Iterator[int]:
    descriptor = os.open(root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        for name in names:
            above = descriptor
            descriptor = _open(name, above)
            os.close(above)
        yield descriptor
    finally:
        os.close(descriptor)


@contextmanager
def _opened(name: str, parent: int) -> Iterator[int]:
    descriptor = _open(name, parent)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def _open(name: str, parent: int) -> int:
    return os.open(name, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=parent)
