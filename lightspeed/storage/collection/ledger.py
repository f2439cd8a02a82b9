"""Which files have been sent and are still there: 16 bytes each."""

import hashlib
import secrets
from collections.abc import Iterable
from pathlib import Path

from lightspeed.storage.collection.source_files import SourceFile
from lightspeed.storage.files import write_atomically

_SUFFIX = ".sent"
_DIGEST = 16
_MOST_SEGMENTS = 32


class Ledger:
    """The sent files of one kind, as segments that are only ever added, so that a crash costs nothing.

    All methods but `holds` and `drop` block and raise OSError.
    """

    def __init__(self, directory: Path, kind: str) -> None:
        self._directory = directory
        self._kind = kind
        self._segments: set[Path] = set(directory.glob(f"{kind}-*{_SUFFIX}"))
        self._sent: set[bytes] = set()
        self._present: set[bytes] = set()
        for segment in self._segments:
            content = segment.read_bytes()
            self._sent.update(content[start : start + _DIGEST] for start in range(0, len(content), _DIGEST))
        self._written = len(self._sent)

    def __len__(self) -> int:
        return len(self._sent)

    def holds(self, file: SourceFile) -> bool:
        """Whether this version of a file has been sent. If so, it counts as present."""
        digest = _digest(file)
        if digest not in self._sent:
            return False
        self._present.add(digest)
        return True

    def add(self, segment: str, files: Iterable[SourceFile]) -> None:
        """Note files as sent; to add a segment a second time does no harm."""
        digests = {_digest(file) for file in files}
        self._write(segment, digests)
        self._sent |= digests
        self._present |= digests
        self._written += len(digests)

    def drop(self, files: Iterable[SourceFile]) -> None:
        """Forget files because they have been removed; takes effect on disk with `compact`."""
        digests = {_digest(file) for file in files}
        self._sent -= digests
        self._present -= digests

    def compact(self) -> None:
        """After a look at all files: forget those that are gone, if there are many of them."""
        if len(self._segments) <= _MOST_SEGMENTS and len(self._present) * 2 >= self._written:
            return
        old = set(self._segments)
        if self._present:
            self._write(f"{self._kind}-{secrets.token_hex(8)}", self._present)
        for segment in old:
            segment.unlink(missing_ok=True)
        self._segments -= old
        self._sent = set(self._present)
        self._written = len(self._sent)

    def _write(self, segment: str, digests: set[bytes]) -> None:
        path = self._directory / f"{segment}{_SUFFIX}"
        write_atomically(path, b"".join(sorted(digests)))
        self._segments.add(path)


def _digest(file: SourceFile) -> bytes:
    # Without the inode: a file that was restored from a backup is not sent again.
    identity = f"{file.size} {file.modified} {file.path}".encode("utf-8", "surrogateescape")
    return hashlib.blake2b(identity, digest_size=_DIGEST).digest()
