"""The catalog beside the stores: a SQLite database that all processes on the folder share."""

import os
import sqlite3
import threading
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from queue import Empty, Full, LifoQueue

from lightspeed.errors import StorageError, Unavailable
from lightspeed.storage.files import make_directories

FILE_NAME = "catalog.db"

_FORMAT = 1
_IDLE_CONNECTIONS = 4

_SCHEMA = """
CREATE TABLE stores (
    sequence INTEGER PRIMARY KEY AUTOINCREMENT,
    id TEXT NOT NULL UNIQUE,
    provider_id TEXT NOT NULL,
    folder TEXT NOT NULL,
    name TEXT,
    embedding_model TEXT NOT NULL,
    dimension INTEGER NOT NULL,
    chunking TEXT,
    metadata TEXT NOT NULL,
    created_at INTEGER NOT NULL,
    last_active_at INTEGER NOT NULL,
    expires_after_days INTEGER,
    fingerprint TEXT,
    deleting INTEGER NOT NULL DEFAULT 0
);
CREATE TABLE attachments (
    sequence INTEGER PRIMARY KEY AUTOINCREMENT,
    store_id TEXT NOT NULL,
    file_id TEXT NOT NULL,
    filename TEXT NOT NULL,
    status TEXT NOT NULL,
    attributes TEXT NOT NULL,
    chunking TEXT NOT NULL,
    origin TEXT NOT NULL,
    created_at INTEGER NOT NULL,
    usage_bytes INTEGER NOT NULL,
    done INTEGER NOT NULL,
    total INTEGER NOT NULL,
    error_code TEXT,
    error_message TEXT,
    claims INTEGER NOT NULL,
    owner TEXT,
    lease_until REAL,
    UNIQUE (store_id, file_id)
);
CREATE INDEX attachments_to_do ON attachments (sequence) WHERE status = 'in_progress';
CREATE TABLE batches (
    sequence INTEGER PRIMARY KEY AUTOINCREMENT,
    id TEXT NOT NULL UNIQUE,
    store_id TEXT NOT NULL,
    created_at INTEGER NOT NULL,
    cancelled INTEGER NOT NULL
);
CREATE TABLE batch_files (
    batch_id TEXT NOT NULL,
    file_id TEXT NOT NULL,
    PRIMARY KEY (batch_id, file_id)
) WITHOUT ROWID;
"""


class Catalog:
    """Connections to the catalog; safe to use from many threads."""

    def __init__(self, path: Path, *, busy_timeout: float = 30.0) -> None:
        """`path` is the folder of the stores; `busy_timeout` the seconds to wait for other writers."""
        self.path = path
        self._file = path / FILE_NAME
        self._busy_timeout = busy_timeout
        self._idle: LifoQueue[sqlite3.Connection] = LifoQueue(_IDLE_CONNECTIONS)
        self._one_writer = threading.Lock()
        self._closed = threading.Event()

    def open(self) -> None:
        """Make the folder and the catalog unless they are there. Raises StorageError, Unavailable."""
        with self._translated():
            make_directories(self.path)
            # Never open a file that exists: closing any descriptor of it drops this process's SQLite locks.
            with suppress(FileExistsError):
                os.close(os.open(self._file, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC, 0o600))
            with closing(self._connect()) as connection:
                self._use_write_ahead_log(connection)
                connection.execute("BEGIN IMMEDIATE")
                (found,) = connection.execute("PRAGMA user_version").fetchone()
                if not found:
                    for statement in _SCHEMA.split(";\n"):
                        connection.execute(statement)
                    connection.execute(f"PRAGMA user_version={_FORMAT}")
                connection.execute("COMMIT")
        if found not in (0, _FORMAT):
            raise StorageError(
                f"The catalog of vector stores has format {found}, this version reads {_FORMAT}."
            )

    @contextmanager
    def read(self) -> Iterator[sqlite3.Connection]:
        """One state of the catalog. Raises StorageError."""
        with self._translated(), self._connection() as connection:
            connection.execute("BEGIN")
            try:
                yield connection
            finally:
                if connection.in_transaction:
                    connection.execute("ROLLBACK")

    @contextmanager
    def write(self) -> Iterator[sqlite3.Connection]:
        """All or nothing, durable at the end. Raises StorageError, Unavailable if others write for too long."""
        if not self._one_writer.acquire(timeout=self._busy_timeout):
            raise self._busy()
        try:
            with self._translated(), self._connection() as connection:
                connection.execute("BEGIN IMMEDIATE")
                try:
                    yield connection
                    connection.execute("COMMIT")
                finally:
                    if connection.in_transaction:
                        connection.execute("ROLLBACK")
        finally:
            self._one_writer.release()

    def close(self) -> None:
        """Close what is idle; connections in use are closed when they are given back."""
        self._closed.set()
        while True:
            try:
                self._idle.get_nowait().close()
            except Empty:
                return

    @contextmanager
    def _connection(self) -> Iterator[sqlite3.Connection]:
        try:
            connection = self._idle.get_nowait()
        except Empty:
            connection = self._connect()
        kept = False
        try:
            yield connection
            kept = not connection.in_transaction and not self._closed.is_set()
        finally:
            if kept:
                try:
                    self._idle.put_nowait(connection)
                except Full:
                    kept = False
            if not kept:
                connection.close()

    def _connect(self) -> sqlite3.Connection:
        connection = sqlite3.connect(
            self._file, timeout=self._busy_timeout, isolation_level=None, check_same_thread=False
        )
        try:
            connection.execute("PRAGMA synchronous=FULL")
        except BaseException:
            connection.close()
            raise
        return connection

    def _use_write_ahead_log(self, connection: sqlite3.Connection) -> None:
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
    def _translated(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.Error as error:
            if _is_busy(error):
                raise self._busy() from error
            raise StorageError(f"The catalog of vector stores: {error}") from error
        except OSError as error:
            raise StorageError(f"The catalog of vector stores: {error.strerror or error}") from error

    def _busy(self) -> Unavailable:
        return Unavailable(
            f"The catalog of vector stores has been locked by other writers for {self._busy_timeout:g} s."
        )


def _is_busy(error: sqlite3.Error) -> bool:
    code = getattr(error, "sqlite_errorcode", None)
    return code is not None and code & 0xFF in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED)
