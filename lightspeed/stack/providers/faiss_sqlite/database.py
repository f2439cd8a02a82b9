"""The SQLite database of one store: connections, transactions, schema."""

import sqlite3
import threading
from collections.abc import Iterator
from contextlib import AbstractContextManager, closing, contextmanager, suppress
from pathlib import Path
from queue import Empty, Full, LifoQueue
from uuid import uuid4

from lightspeed.errors import NotFound, StorageError
from lightspeed.stack.providers.faiss_sqlite.sqlite_file import SqliteFile
from lightspeed.stack.providers.faiss_sqlite.terms import searchable

FILE_NAME = "chunks.db"
FILLED = "filled"
"""An empty file beside the database, once an ingest has come to its end."""

_FORMAT = 1
_IDLE_CONNECTIONS = 8
_LARGEST_LOG = 64_000_000  # bytes that stay on disk between transactions

# Ten vectors of 384 dimensions fill such a page; with 4096 bytes a fourth of the file is left empty.
_PAGE_SIZE = 16384

# `searchable` decides on the terms of the index: whoever changes it raises _FORMAT.
_SCHEMA = """
CREATE TABLE properties (name TEXT PRIMARY KEY, value ANY) WITHOUT ROWID;
CREATE TABLE chunks (
    position INTEGER PRIMARY KEY AUTOINCREMENT,
    chunk_id TEXT NOT NULL UNIQUE,
    document_id TEXT,
    file_id TEXT,
    ordinal INTEGER,
    token_count INTEGER,
    metadata TEXT NOT NULL,
    content TEXT NOT NULL
);
CREATE INDEX chunks_of_document ON chunks (document_id, ordinal) WHERE document_id IS NOT NULL;
CREATE INDEX chunks_of_file ON chunks (file_id, ordinal) WHERE file_id IS NOT NULL;
CREATE TABLE vectors (position INTEGER PRIMARY KEY, vector BLOB NOT NULL);
CREATE TABLE deletions (sequence INTEGER PRIMARY KEY AUTOINCREMENT, position INTEGER NOT NULL);
CREATE VIRTUAL TABLE terms USING fts5 (
    content, content='', tokenize="porter unicode61 categories 'L* N* Co Mn Mc'"
);
"""


class Database:
    """Connections to one database; safe to use from many threads and beside other processes.

    The folder may be removed, or removed and made again, by another process: the next transaction
    notices. Then `epoch` is another one, and nothing that was read before holds.
    """

    def __init__(self, folder: Path, *, busy_timeout: float) -> None:
        """`busy_timeout`: seconds to wait for other writers."""
        self.folder = folder
        self.epoch = 0
        self._file = SqliteFile(
            folder / FILE_NAME, f"Knowledge store {folder.name}", busy_timeout=busy_timeout, prepare=_prepare
        )
        self._identity: tuple[int, int] | None = None
        self._idle: LifoQueue[tuple[int, sqlite3.Connection]] = LifoQueue(_IDLE_CONNECTIONS)
        self._swap = threading.Lock()
        self._closed = threading.Event()

    def open(self, dimension: int) -> None:
        """Make the database unless it is there.

        Raises ValueError if it is there with another dimension, StorageError if it cannot be used.
        """
        with self._file.translated():
            self._file.make()
            self._identity = self._on_disk()
            with closing(self._file.connect()) as connection:
                connection.execute(f"PRAGMA page_size={_PAGE_SIZE}")
                self._file.use_write_ahead_log(connection)
                stored = _stored_properties(connection)
                if not stored:
                    connection.execute("BEGIN IMMEDIATE")
                    stored = _stored_properties(connection)
                    if not stored:
                        _make_schema(connection, dimension)
                    connection.execute("COMMIT")
        if stored and stored["format"] != _FORMAT:
            raise StorageError(
                f"Knowledge store {self.folder.name} has format {stored['format']}, this version reads {_FORMAT}."
            )
        if stored and stored["dimension"] != dimension:
            raise ValueError(
                f"Knowledge store {self.folder.name} holds vectors of {stored['dimension']} dimensions, not {dimension}."
            )

    def read(self) -> AbstractContextManager[sqlite3.Connection]:
        """One state of the database. Raises NotFound if it is gone, StorageError."""
        return self._file.reading(self._connection())

    def write(self) -> AbstractContextManager[sqlite3.Connection]:
        """All or nothing, durable at the end. Raises NotFound, Unavailable if others write for too long, StorageError."""
        return self._file.writing(self._connection())

    def check(self) -> None:
        """Notice that the folder is gone or another one. Costs a system call. Raises NotFound."""
        if self._closed.is_set():
            raise StorageError(f"Knowledge store {self.folder.name} is closed.")
        found = self._on_disk()
        if found is None:
            raise NotFound("Knowledge store", self.folder.name)
        if found != self._identity:
            with self._swap:
                if found != self._identity:
                    self.epoch += 1
                    self._identity = found

    def watcher(self) -> sqlite3.Connection:
        """A connection for the caller alone, to be closed by the caller."""
        with self._file.translated():
            return self._file.connect()

    def version(self, watcher: sqlite3.Connection) -> int:
        """Another number after each commit of another connection; numbers of one watcher compare only."""
        with self._file.translated():
            version: int = watcher.execute("PRAGMA data_version").fetchone()[0]
        return version

    def size(self) -> int:
        """Bytes of all files in the folder."""
        total = 0
        for path in self.folder.glob("*"):
            with suppress(FileNotFoundError):
                total += path.stat().st_size
        return total

    def close(self) -> None:
        """Close what is idle; connections in use are closed when they are given back."""
        self._closed.set()
        self._drain()

    @contextmanager
    def _connection(self) -> Iterator[sqlite3.Connection]:
        self.check()
        epoch = self.epoch
        connection = self._idle_connection(epoch) or self._file.connect()
        broken = True
        try:
            yield connection
            broken = connection.in_transaction
        finally:
            self._give_back(epoch, connection, broken)

    def _idle_connection(self, epoch: int) -> sqlite3.Connection | None:
        while True:
            try:
                made_in, connection = self._idle.get_nowait()
            except Empty:
                return None
            if made_in == epoch:
                return connection
            connection.close()

    def _give_back(self, epoch: int, connection: sqlite3.Connection, broken: bool) -> None:
        if broken or epoch != self.epoch or self._closed.is_set():
            connection.close()
            return
        try:
            self._idle.put_nowait((epoch, connection))
        except Full:
            connection.close()
        if self._closed.is_set():
            self._drain()

    def _drain(self) -> None:
        while True:
            try:
                self._idle.get_nowait()[1].close()
            except Empty:
                return

    def _on_disk(self) -> tuple[int, int] | None:
        try:
            status = self._file.path.stat()
        except FileNotFoundError:
            return None
        except OSError as error:
            raise StorageError(
                f"Knowledge store {self.folder.name} cannot be reached: {error.strerror}"
            ) from error
        return status.st_dev, status.st_ino


def _prepare(connection: sqlite3.Connection) -> None:
    connection.execute(f"PRAGMA journal_size_limit={_LARGEST_LOG}")
    connection.create_function("searchable", 1, searchable, deterministic=True)


def _stored_properties(connection: sqlite3.Connection) -> dict[str, int]:
    if not connection.execute("SELECT 1 FROM sqlite_master WHERE name = 'properties'").fetchone():
        return {}
    return dict(
        connection.execute(
            "SELECT name, value FROM properties WHERE name IN ('format', 'dimension')"
        ).fetchall()
    )


def _make_schema(connection: sqlite3.Connection, dimension: int) -> None:
    for statement in _SCHEMA.split(";\n"):
        connection.execute(statement)
    properties = {"format": _FORMAT, "dimension": dimension, "generation": uuid4().hex}
    connection.executemany("INSERT INTO properties VALUES (?, ?)", properties.items())
