"""What is under way, on disk: whoever is killed goes on where it was."""

import json
import logging
import secrets
from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Self

from lightspeed.storage.collection.source_files import SourceFile
from lightspeed.storage.files import write_atomically

logger = logging.getLogger(__name__)

# Not .json: an exporter that is given the folder above ships and deletes every such file.
_SUFFIX = ".batch"
_VERSION = 1


@dataclass(frozen=True, slots=True)
class Batch:
    """The files of one archive. `name` is unique and stays the same, however often the archive is sent."""

    kind: str
    name: str
    files: tuple[SourceFile, ...]
    confirmed: bool = False

    @classmethod
    def new(cls, kind: str, files: Iterable[SourceFile]) -> Self:
        return cls(kind, f"{kind}-{datetime.now(UTC):%Y%m%dT%H%M%SZ}-{secrets.token_hex(8)}", tuple(files))

    @property
    def archive_name(self) -> str:
        return f"lightspeed-{self.name}.tar.gz"

    def of(self, files: Iterable[SourceFile]) -> Self:
        return replace(self, files=tuple(files))

    def as_confirmed(self) -> Self:
        return replace(self, confirmed=True)


class Journal:
    """One file a batch, from before it is first sent until its files are removed.

    A batch that is not confirmed may or may not have been received. All methods block and raise OSError.
    """

    def __init__(self, directory: Path) -> None:
        self._directory = directory

    def batches(self, kind: str) -> list[Batch]:
        """What is under way, oldest first. A file that is not understood is set aside."""
        found = []
        for path in sorted(self._directory.glob(f"{kind}-*{_SUFFIX}")):
            try:
                found.append(_decode(kind, path.stem, path.read_bytes()))
            except (ValueError, KeyError, TypeError):
                logger.error("%s is not understood, and is set aside; its files are sent again", path)
                path.rename(path.with_suffix(".unreadable"))
        return found

    def write(self, batch: Batch) -> None:
        """Add or replace a batch; when this returns, it survives a loss of power."""
        write_atomically(self._path(batch), _encode(batch))

    def remove(self, batch: Batch) -> None:
        self._path(batch).unlink(missing_ok=True)

    def _path(self, batch: Batch) -> Path:
        return self._directory / f"{batch.name}{_SUFFIX}"


def _encode(batch: Batch) -> bytes:
    files = [(file.path, file.size, file.modified, file.inode) for file in batch.files]
    # Not `json_bytes`: a name that is not UTF-8 must come back as it was.
    return json.dumps({"version": _VERSION, "confirmed": batch.confirmed, "files": files}).encode()


def _decode(kind: str, name: str, content: bytes) -> Batch:
    entry = json.loads(content)
    if entry["version"] != _VERSION:
        raise ValueError("written by another version")
    files = tuple(SourceFile(*file) for file in entry["files"])
    return Batch(kind, name, files, confirmed=entry["confirmed"])
