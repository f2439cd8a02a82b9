"""A tar.gz archive on disk: the same bytes for the same files, and nothing about this machine."""

import errno
import gzip
import os
import tarfile
import tempfile
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

from lightspeed.storage.collection.source_files import SourceFile
from lightspeed.storage.files import make_directories

_LEVEL = 6
_GONE = frozenset({errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.EISDIR, errno.ENXIO})


@dataclass
class Contents:
    """What is in an archive, and how many files are not, because this process may not read them."""

    files: list[SourceFile] = field(default_factory=list)
    unreadable: int = 0


class _ChangedMeanwhileError(Exception):
    def __init__(self, file: SourceFile) -> None:
        super().__init__(file.path)
        self.file = file


class Archive:
    """An archive in a file without a name, so that nothing stays behind when the process is killed.

    All methods block; all but `close` raise OSError.
    """

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._file: IO[bytes] | None = None
        self.size = 0  # bytes

    def pack(self, root: Path, prefix: str, files: Sequence[SourceFile]) -> Contents:
        """Write the files that still are as they were found. Their names begin with `prefix`, not with `root`."""
        if self._file is None:
            make_directories(self._directory)
            self._file = tempfile.TemporaryFile(dir=self._directory)  # noqa: SIM115 - closed by `close`
        files = list(files)
        while True:
            try:
                contents = self._write(self._file, root, prefix, files)
            except _ChangedMeanwhileError as change:
                files.remove(change.file)
            else:
                self.size = self._file.tell()
                return contents

    def read(self, offset: int, length: int) -> bytes:
        """Up to `length` bytes; none at the end."""
        assert self._file is not None, "read before pack"
        return os.pread(self._file.fileno(), length, offset)

    def close(self) -> None:
        if self._file is not None:
            # On a full disk this fails once more, but closes.
            with suppress(OSError):
                self._file.close()

    def _write(self, file: IO[bytes], root: Path, prefix: str, files: Sequence[SourceFile]) -> Contents:
        file.seek(0)
        file.truncate()
        contents = Contents()
        with (
            gzip.GzipFile(filename="", mode="wb", compresslevel=_LEVEL, fileobj=file, mtime=0) as compressed,
            tarfile.open(fileobj=compressed, mode="w", format=tarfile.PAX_FORMAT) as archive,
        ):
            for source in files:
                try:
                    content = open(root / source.path, "rb", opener=_opener)  # noqa: SIM115 - closed below
                except PermissionError:
                    contents.unreadable += 1
                    continue
                except OSError as error:
                    if error.errno not in _GONE:
                        raise
                    continue
                with content:
                    if _add(archive, prefix, source, content):
                        contents.files.append(source)
        file.flush()
        return contents


def _opener(path: str, _: int) -> int:
    # Neither a symbolic link is followed, nor a pipe waited for.
    return os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)


def _add(archive: tarfile.TarFile, prefix: str, source: SourceFile, content: IO[bytes]) -> bool:
    """False when the file is not the one that was found."""
    if not _is(source, content):
        return False
    member = tarfile.TarInfo(f"{prefix}/{source.path}")
    member.size = source.size
    member.mtime = source.modified // 1_000_000_000
    try:
        archive.addfile(member, content)
    except OSError:
        if _is(source, content):
            raise
    if not _is(source, content):
        # Half of the old content may be in the archive by now.
        raise _ChangedMeanwhileError(source)
    return True


def _is(source: SourceFile, content: IO[bytes]) -> bool:
    return SourceFile.of(source.path, os.fstat(content.fileno())) == source
