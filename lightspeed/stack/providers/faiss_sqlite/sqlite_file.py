"""A SQLite file that many threads and processes use at once: how it is made, opened and written."""

import os
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from pathlib import Path

from lightspeed.errors import StorageError, Unavailable
from lightspeed.storage.files import make_directories


class SqliteFile:
    """Makes connections, and brackets their transactions. Errors of SQLite and the system become ours."""

    def __init__(
        self,
        path: Path,
        called: str,
        *,
        busy_timeout: float,
        prepare: Callable[[sqlite3.Connection], None] = lambda _: None,
    ) -> None:
        """`called` is what errors call it; `busy_timeout` the seconds to wait for other writers.

        `prepare` sets up each connection.
        """
        self.path = path
        self._called = called
        self._busy_timeout = busy_timeout
        self._prepare = prepare
        self._one_writer = threading.Lock()

    def make(self) -> None:
        """Make folder and file unless they are there. Raises OSError."""
        make_directories(self.path.parent)
        # Never open a file that exists: closing any descriptor of it drops this process's SQLite locks.
        with suppress(FileExistsError):
            os.close(os.open(self.path, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC, 0o600))

    def connect(self) -> sqlite3.Connection:
        """A connection of the caller's, without transactions of its own making. Raises sqlite3.Error."""
        # `rw`: a file that another process has removed is not made again by accident.
        uri = f"{self.path.absolute().as_uri()}?mode=rw"
        connection = sqlite3.connect(
            uri, uri=True, timeout=self._busy_timeout, isolation_level=None, check_same_thread=False
        )
        try:
            connection.execute("PRAGMA synchronous=FULL")
            self._prepare(connection)
        except BaseException:
            connection.close()
            raise
        return connection

    def use_write_ahead_log(self, connection: sqlite3.Connection) -> None:
        """Switch the file to its log. Raises sqlite3.Error."""
        deadline = time.monotonic() + self._busy_timeout
        while True:
            try:
                connection.execute("PRAGMA journal_mode=WAL")
            except sqlite3.OperationalError as error:
                # Here SQLite does not wait for other processes by itself.
                if not _is_busy(error) or time.monotonic() > deadline:
                    raise
                time.sleep(0.02)
            else:
                return

    @contextmanager
    def reading(self, opened: AbstractContextManager[sqlite3.Connection]) -> Iterator[sqlite3.Connection]:
        """One state of the file. Raises StorageError, Unavailable."""
        with self.translated(), opened as connection:
            connection.execute("BEGIN")
            try:
                yield connection
            finally:
                if connection.in_transaction:
                    connection.execute("ROLLBACK")

    @contextmanager
    def writing(self, opened: AbstractContextManager[sqlite3.Connection]) -> Iterator[sqlite3.Connection]:
        """All or nothing, durable at the end. Raises StorageError, Unavailable if others write for too long."""
        if not self._one_writer.acquire(timeout=self._busy_timeout):
            raise self._busy()
        try:
            with self.translated(), opened as connection:
                connection.execute("BEGIN IMMEDIATE")
                try:
                    yield connection
                    connection.execute("COMMIT")
                finally:
                    if connection.in_transaction:
                        connection.execute("ROLLBACK")
        finally:
            self._one_writer.release()

    @contextmanager
    def translated(self) -> Iterator[None]:
        """Raises StorageError and Unavailable instead of what SQLite and the system raise."""
        try:
            yield
        except sqlite3.Error as error:
            if _is_busy(error):
                raise self._busy() from error
            # The message would quote what stands there.
            told = "it holds text that is damaged" if _is_undecodable(error) else error
            raise StorageError(f"{self._called}: {told}") from error
        except UnicodeDecodeError as error:
            # SQLite's own message, where it quotes what it cannot read.
            raise StorageError(f"{self._called}: its schema is damaged") from error
        except OSError as error:
            raise StorageError(f"{self._called}: {error.strerror or error}") from error

    def _busy(self) -> Unavailable:
        return Unavailable(f"{self._called} has been locked by other writers for {self._busy_timeout:g} s.")


def is_damage(error: StorageError) -> bool:
    """Whether a file cannot be read because it is broken, and not because of the moment."""
    cause = error.__cause__
    if isinstance(cause, UnicodeDecodeError | sqlite3.DataError) or _is_undecodable(cause):
        return True
    return _primary_code(cause) in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)


def _is_undecodable(error: BaseException | None) -> bool:
    """Whether SQLite could read a text, and Python could not."""
    return isinstance(error, sqlite3.OperationalError) and _primary_code(error) is None


def _is_busy(error: sqlite3.Error) -> bool:
    return _primary_code(error) in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED)


def _primary_code(error: BaseException | None) -> int | None:
    code: int | None = getattr(error, "sqlite_errorcode", None)
    return None if code is None else code & 0xFF
