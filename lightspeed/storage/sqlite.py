"""SQLite: one file, worker threads, one writer at a time."""

import asyncio
import os
import sqlite3
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import anyio
from anyio import CapacityLimiter, to_thread
from sqlalchemy import Connection, Engine, create_engine, event
from sqlalchemy.exc import OperationalError
from sqlalchemy.pool import QueuePool

from lightspeed.storage.encoding import json_text
from lightspeed.storage.files import make_directories
from lightspeed.storage.migrations import Migrations
from lightspeed.storage.search import MENTIONS, mentions

_CONNECTIONS = 5
_BUSY_SECONDS = 10.0

_ON_CONNECT = (
    "PRAGMA foreign_keys=ON",
    # Syncs the log at each commit, so that a recorded turn outlives a loss of power and not only of the process.
    # It costs one fsync a turn; with NORMAL a loss of power takes what the kernel has not yet written.
    "PRAGMA synchronous=FULL",
    # Overwrites in the file what is erased.
    "PRAGMA secure_delete=ON",
)


class SqliteConnections:
    """Runs whole transactions in worker threads.

    A thread for each transaction and not for each statement (aiosqlite): a turn is recorded four times
    as fast, and the event loop neither compiles SQL nor writes JSON.
    """

    def __init__(self, path: Path | None) -> None:
        """`path` None keeps everything in memory, in the one connection that there is then."""
        self._path = path
        connections = _CONNECTIONS if path else 1
        # A creator, because SQLAlchemy would look at the path here, in the event loop.
        self._engine = create_engine(
            "sqlite://",
            creator=self._connect,
            poolclass=QueuePool,
            hide_parameters=True,
            json_serializer=json_text,
            pool_size=connections,
            max_overflow=0,
            pool_timeout=_BUSY_SECONDS,
        )
        event.listen(self._engine, "begin", _begin)
        self._writing_engine = self._engine.execution_options(writes=True)
        self._readers = CapacityLimiter(max(connections - 1, 1))
        # A writer has a connection and a thread of its own: long searches do not hold it up.
        self._writers = CapacityLimiter(1) if path else self._readers
        self._one_writer = asyncio.Lock()

    async def open(self) -> None:
        await to_thread.run_sync(self._open)

    async def close(self) -> None:
        await to_thread.run_sync(self._engine.dispose)

    async def write[T](self, work: Callable[[Connection], T]) -> T:
        with anyio.fail_after(_BUSY_SECONDS):
            await self._one_writer.acquire()
        try:
            return await to_thread.run_sync(_transact, self._writing_engine, work, limiter=self._writers)
        finally:
            self._one_writer.release()

    async def read[T](self, work: Callable[[Connection], T]) -> T:
        return await to_thread.run_sync(_transact, self._engine, work, limiter=self._readers)

    def away(self, error: BaseException) -> bool:
        """Another process holds a lock; anything else that is wrong with a file stays wrong."""
        return isinstance(error, TimeoutError) or "locked" in str(error)

    def _connect(self) -> sqlite3.Connection:
        connection = sqlite3.connect(
            self._path or ":memory:", timeout=_BUSY_SECONDS, isolation_level=None, check_same_thread=False
        )
        try:
            for pragma in _ON_CONNECT:
                connection.execute(pragma)
            connection.create_function(MENTIONS, 2, mentions, deterministic=True)
        except sqlite3.Error:
            connection.close()
            raise
        return connection

    def _open(self) -> None:
        if self._path:
            _make_file(self._path)
            _use_write_ahead_log(self._engine)
        with self._writing_engine.execution_options(migrates=True).connect() as connection:
            try:
                with connection.begin():
                    Migrations().upgrade(connection)
            finally:
                connection.connection.cursor().execute("PRAGMA foreign_keys=ON")


def _transact[T](engine: Engine, work: Callable[[Connection], T]) -> T:
    with engine.begin() as connection:
        return work(connection)


def _begin(connection: Connection) -> None:
    options = connection.get_execution_options()
    if options.get("migrates", False):
        # A migration that remakes a table must not delete what hangs on it.
        connection.exec_driver_sql("PRAGMA foreign_keys=OFF")
    # A transaction that reads before it writes fails at once if another process has written in between:
    # only BEGIN IMMEDIATE waits.
    connection.exec_driver_sql("BEGIN IMMEDIATE" if options.get("writes", False) else "BEGIN")


def _make_file(path: Path) -> None:
    """Make an empty database that only its owner can read; SQLite gives its log files the same mode."""
    make_directories(path.parent)
    # Never open a database that exists: closing any descriptor of it drops this process's SQLite locks.
    with suppress(FileExistsError):
        os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))


def _use_write_ahead_log(engine: Engine) -> None:
    """Let readers and a writer work side by side; the file remembers it."""
    deadline = time.monotonic() + _BUSY_SECONDS
    while True:
        try:
            connection = engine.raw_connection()
            try:
                connection.cursor().execute("PRAGMA journal_mode=WAL")
            finally:
                connection.close()
        except (OperationalError, sqlite3.OperationalError) as error:
            # Here SQLite does not wait for other processes by itself.
            if "locked" not in str(error) or time.monotonic() > deadline:
                raise
            time.sleep(0.02)
        else:
            return
