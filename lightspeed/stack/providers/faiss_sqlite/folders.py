"""The folders of the stores: their names, and one who may change them at a time."""

import fcntl
import hashlib
import os
import re
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from glob import escape
from pathlib import Path

from lightspeed.errors import StorageError

_PLAIN = re.compile(r"[a-z0-9][a-z0-9_-]{0,63}")
_DESTROYED = ".destroyed"
_OTHER_SIGNS = re.compile(r"[^a-z0-9_-]+")


def folder_name(store_id: str) -> str:
    """The name of a store's folder: the id itself where it is plain, else one that no other id has."""
    if _PLAIN.fullmatch(store_id):
        return store_id
    readable = _OTHER_SIGNS.sub("-", store_id[:200].lower()).strip("-_")[:40]
    digest = hashlib.sha256(store_id.encode("utf-8", "surrogatepass")).hexdigest()[:16]
    # No plain id holds a dot.
    return f"{readable or 'store'}.{digest}"


def destroy(folder: Path) -> None:
    """Remove a store's folder, and what a process has left that was killed while it did. Raises StorageError."""
    # A folder without its name is no store any more, whatever happens while it is emptied.
    doomed = folder.with_name(f".{folder.name}.{secrets.token_hex(4)}{_DESTROYED}")
    try:
        folder.rename(doomed)
    except FileNotFoundError:
        pass
    except OSError as error:
        raise StorageError(f"Knowledge store {folder.name} cannot be removed: {error.strerror}") from error
    remove_destroyed(folder)


def remove_destroyed(folder: Path) -> None:
    """Remove what is left of stores that had this folder and were destroyed."""
    for path in folder.parent.glob(f".{escape(folder.name)}.*{_DESTROYED}"):
        shutil.rmtree(path, ignore_errors=True)


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
