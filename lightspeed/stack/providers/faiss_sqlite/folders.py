"""The folders of the stores: their names, and one who may change them at a time."""

import fcntl
import hashlib
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from lightspeed.errors import StorageError

_PLAIN = re.compile(r"[a-z0-9][a-z0-9_-]{0,63}")
_OTHER_SIGNS = re.compile(r"[^a-z0-9_-]+")


def folder_name(store_id: str) -> str:
    """The name of a store's folder: the id itself where it is plain, else one that no other id has."""
    if _PLAIN.fullmatch(store_id):
        return store_id
    readable = _OTHER_SIGNS.sub("-", store_id[:200].lower()).strip("-_")[:40]
    digest = hashlib.sha256(store_id.encode("utf-8", "surrogatepass")).hexdigest()[:16]
    # No plain id holds a dot.
    return f"{readable or 'store'}.{digest}"


@contextmanager
def folder_lock(path: Path, name: str) -> Iterator[None]:
    """Only one thread of all processes is inside at a time; ends with the process. Raises StorageError."""
    file = path / f".{name}.lock"
    while True:
        try:
            descriptor = os.open(file, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise StorageError(f"{path} cannot be written: {error.strerror}") from error
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            if not _is_at(descriptor, file):
                # Who had it before has removed it.
                continue
            try:
                yield
            finally:
                with suppress(FileNotFoundError):
                    file.unlink()
            return
        finally:
            os.close(descriptor)


def _is_at(descriptor: int, file: Path) -> bool:
    try:
        status = file.stat()
    except FileNotFoundError:
        return False
    return os.path.samestat(status, os.fstat(descriptor))
