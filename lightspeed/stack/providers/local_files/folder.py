"""Uploaded files on the disk: the content under the file's id, and beside it what is known of it.

The description is written last, and removed first: a file is there when its description is.
"""

import fcntl
import json
import logging
import os
import re
import secrets
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path

from lightspeed.errors import StorageError
from lightspeed.storage.files import make_directories, remove_stale_temporaries, write_all, write_atomically

logger = logging.getLogger(__name__)

_ID = re.compile(r"file-[0-9a-f]{32}")
_DESCRIPTION = ".json"


@dataclass(frozen=True, slots=True)
class StoredFile:
    """`size` in bytes; times in Unix nanoseconds, so that files of the same second have an order."""

    id: str
    filename: str
    purpose: str
    size: int
    created_ns: int
    expires_ns: int | None


class Upload:
    """A file that is being written. Nobody sees it before `FileFolder.finish`."""

    def __init__(self, folder: Path) -> None:
        self.id = f"file-{secrets.token_hex(16)}"
        self.size = 0
        self._path = folder / f".{self.id}.partial"
        self._folder = folder
        descriptor = os.open(self._path, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC, 0o600)
        # The lock tells others that the writer lives, also when the file has its name; it ends with the process.
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        self._file = os.fdopen(descriptor, "wb", buffering=0)

    def write(self, part: bytes) -> None:
        write_all(self._file.fileno(), part)
        self.size += len(part)

    def name(self) -> None:
        """Give the content its name; it survives a loss of power then."""
        os.fsync(self._file.fileno())
        self._path = self._path.rename(self._folder / self.id)

    def close(self, *, keep: bool) -> None:
        self._file.close()
        if not keep:
            self._path.unlink(missing_ok=True)


class FileFolder:
    """All calls block, and raise StorageError when the folder cannot be read or written."""

    def __init__(self, path: Path) -> None:
        self._path = path
        # What is described never changes.
        self._known: dict[str, StoredFile] = {}

    def open(self) -> None:
        """Make the folder, and remove what killed uploads and deletions have left."""
        with _translated():
            make_directories(self._path)
            remove_stale_temporaries(self._path)
            for path in list(self._path.iterdir()):
                if _ID.fullmatch(path.name) and not self._description(path.name).exists():
                    self._remove_if_abandoned(path)

    def begin(self) -> Upload:
        with _translated():
            return Upload(self._path)

    def write(self, upload: Upload, part: bytes) -> None:
        with _translated():
            upload.write(part)

    def finish(self, upload: Upload, file: StoredFile) -> None:
        """Make the file visible."""
        with _translated():
            upload.name()
            write_atomically(self._description(file.id), json.dumps(asdict(file)).encode())
            upload.close(keep=True)
        self._known[file.id] = file

    def get(self, file_id: str) -> StoredFile | None:
        """None if there is no such file."""
        if not _ID.fullmatch(file_id):
            return None
        with _translated():
            found = self._read(file_id)
            if found is None:
                # A folder that is away, such as a file system that is not mounted, does not mean that its files are.
                os.scandir(self._path).close()
            return found

    def files(self) -> list[StoredFile]:
        """All files, oldest first. One that cannot be read is passed over, and the log says so."""
        with _translated():
            names = [entry.name for entry in os.scandir(self._path) if entry.name.endswith(_DESCRIPTION)]
            ids = [name.removesuffix(_DESCRIPTION) for name in names]
            found = [self._read_or_pass(file_id) for file_id in ids if _ID.fullmatch(file_id)]
        present = {file.id: file for file in found if file is not None}
        self._known = {**present}
        return sorted(present.values(), key=lambda file: (file.created_ns, file.id))

    def content(self, file_id: str) -> bytes | None:
        with _translated():
            try:
                return (self._path / file_id).read_bytes()
            except FileNotFoundError:
                return None

    def remove(self, file_id: str) -> None:
        with _translated():
            self._description(file_id).unlink(missing_ok=True)
            (self._path / file_id).unlink(missing_ok=True)
        self._known.pop(file_id, None)

    def _read(self, file_id: str) -> StoredFile | None:
        description = self._description(file_id)
        known = self._known.get(file_id)
        if known is not None:
            return known if description.exists() else None
        try:
            read = json.loads(description.read_bytes())
            return self._known.setdefault(file_id, StoredFile(**read))
        except FileNotFoundError:
            return None
        except (ValueError, TypeError) as error:
            raise StorageError(
                f"The description of file {file_id} is damaged.", response="File storage failed"
            ) from error

    def _read_or_pass(self, file_id: str) -> StoredFile | None:
        try:
            return self._read(file_id)
        except StorageError as error:
            logger.warning("%s", error.cause)
            return None

    def _description(self, file_id: str) -> Path:
        return self._path / f"{file_id}{_DESCRIPTION}"

    def _remove_if_abandoned(self, path: Path) -> None:
        with suppress(OSError):
            descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                if not self._description(path.name).exists():
                    path.unlink()
            finally:
                os.close(descriptor)


@contextmanager
def _translated() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise StorageError(
            f"Uploaded files cannot be read or written: {error.strerror}", response="File storage failed"
        ) from error
