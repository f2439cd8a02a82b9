"""The catalog beside the stores: a SQLite database that all processes on the folder share."""

import logging
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import AbstractContextManager, closing, contextmanager
from pathlib import Path
from queue import Empty, Full, LifoQueue

from lightspeed.errors import StorageError
from lightspeed.stack.providers.faiss_sqlite.database import FILE_NAME as STORE_FILE
from lightspeed.stack.providers.faiss_sqlite.sqlite_file import SqliteFile

logger = logging.getLogger(__name__)

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
        self._file = SqliteFile(path / FILE_NAME, "The catalog of vector stores", busy_timeout=busy_timeout)
        self._idle: LifoQueue[sqlite3.Connection] = LifoQueue(_IDLE_CONNECTIONS)
        self._closed = threading.Event()
        self._loss: str | None = None

    @property
    def loss(self) -> str | None:
        """What was lost, in a sentence, if this process has made the catalog anew beside stores."""
        return self._loss

    def open(self) -> None:
        """Make the folder and the catalog unless they are there. Raises StorageError, Unavailable.

        A catalog that is missing or empty beside stores is made anew, too, and `loss` says so.
        """
        with self._file.translated():
            self._file.make()
            with closing(self._file.connect()) as connection:
                self._file.use_write_ahead_log(connection)
                found = _format(connection)
                if not found:
                    connection.execute("BEGIN IMMEDIATE")
                    found = _format(connection)
                    if not found:
                        for statement in _SCHEMA.split(";\n"):
                            connection.execute(statement)
                        connection.execute(f"PRAGMA user_version={_FORMAT}")
                    connection.execute("COMMIT")
        if not found and (stores := sum(1 for _ in self.path.glob(f"[!.]*/{STORE_FILE}"))):
            self._loss = (
                f"{FILE_NAME} was missing or empty beside {stores} vector stores and has been made anew: their passages"
                " are there, but names, attached files and expiry are lost; to have them back, restore it from a backup"
            )
            logger.error("Vector stores in %s: %s", self.path, self._loss)
        if found not in (0, _FORMAT):
            raise StorageError(
                f"The catalog of vector stores has format {found}, this version reads {_FORMAT}."
            )

    def read(self) -> AbstractContextManager[sqlite3.Connection]:
        """One state of the catalog. Raises StorageError."""
        return self._file.reading(self._connection())

    def write(self) -> AbstractContextManager[sqlite3.Connection]:
        """All or nothing, durable at the end. Raises StorageError, Unavailable if others write for too long."""
        return self._file.writing(self._connection())

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
            connection = self._file.connect()
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


def _format(connection: sqlite3.Connection) -> int:
    """0 as long as there are no tables."""
    (found,) = connection.execute("PRAGMA user_version").fetchone()
    return int(found)
