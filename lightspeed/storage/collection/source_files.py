"""The files that are to be sent: found, divided, and removed afterwards."""

import os
import stat
from collections.abc import Callable, Collection, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from operator import attrgetter
from pathlib import Path
from typing import Self

# Two header blocks of the archive, the content of one of them, and what fills the last block.
_OVERHEAD = 2048


@dataclass(frozen=True, slots=True)
class SourceFile:
    """A file as it was found. `path` starts at the directory of its kind; a change makes it another one."""

    path: str
    size: int  # bytes
    modified: int  # nanoseconds
    inode: int

    @classmethod
    def of(cls, path: str, status: os.stat_result) -> Self | None:
        """None for all that is not a regular file."""
        if not stat.S_ISREG(status.st_mode):
            return None
        return cls(path, status.st_size, status.st_mtime_ns, status.st_ino)


def find_files(
    root: Path, *, without: Collection[str] = (), on_error: Callable[[OSError], None]
) -> Iterator[SourceFile]:
    """The `*.json` files at any depth, in a stable order. Symbolic links are not followed.

    `without` are real paths of directories that are left out. What vanishes meanwhile is no error.
    """

    def tell(error: OSError) -> None:
        if not isinstance(error, FileNotFoundError):
            on_error(error)

    top = os.path.realpath(root)
    for directory, folders, names in os.walk(top, onerror=tell):
        folders[:] = sorted(name for name in folders if f"{directory}/{name}" not in without)
        for name in sorted(names):
            if not name.endswith(".json"):
                continue
            path = f"{directory}/{name}"
            try:
                file = SourceFile.of(path[len(top) + 1 :], Path(path).lstat())
            except OSError as error:
                tell(error)
            else:
                if file:
                    yield file


def in_batches(
    files: Iterable[SourceFile], *, most_bytes: int, most_files: int
) -> Iterator[list[SourceFile]]:
    """Groups that pack to at most that much; a file that is larger by itself is alone. Each is sorted by path."""
    batch: list[SourceFile] = []
    size = 0
    for file in files:
        needed = file.size + _OVERHEAD
        if batch and (size + needed > most_bytes or len(batch) == most_files):
            yield sorted(batch, key=attrgetter("path"))
            batch, size = [], 0
        batch.append(file)
        size += needed
    if batch:
        yield sorted(batch, key=attrgetter("path"))


def remove_files(root: Path, files: Iterable[SourceFile]) -> list[SourceFile]:
    """Remove the files that are as they were found, and the directories that this empties, but not `root`.

    May be repeated after it was cut off. Returns the files that should be removed and cannot be.
    """
    kept = []
    folders = set()
    for file in files:
        folders.add(file.path.rpartition("/")[0])
        try:
            _remove_if_unchanged(root, file)
        except (FileNotFoundError, NotADirectoryError):
            continue
        except OSError:
            kept.append(file)
    for folder in {_remove_emptied(root, folder) for folder in folders}:
        _sync(folder)
    return kept


def _remove_if_unchanged(root: Path, file: SourceFile) -> None:
    path = root / file.path
    if SourceFile.of(file.path, path.lstat()) == file:
        path.unlink()


def _remove_emptied(root: Path, folder: str) -> Path:
    """Returns the lowest directory that stays."""
    while folder:
        try:
            Path(root, folder).rmdir()
        except FileNotFoundError:
            pass
        except OSError:
            break
        folder = folder.rpartition("/")[0]
    return Path(root, folder)


def _sync(directory: Path) -> None:
    # Otherwise files may be back after a loss of power, when nobody knows any more that they were sent.
    with suppress(FileNotFoundError, NotADirectoryError):
        descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
