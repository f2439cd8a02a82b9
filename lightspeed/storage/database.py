"""The database: transactions, and tables brought up to date at start."""

import asyncio
import logging
import re
import sqlite3
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol, Self

import anyio
from sqlalchemy import URL, Connection, make_url
from sqlalchemy.exc import ArgumentError, SQLAlchemyError

from lightspeed.errors import ConfigurationError, StartupError, StorageError
from lightspeed.storage.sqlite import SqliteConnections

logger = logging.getLogger(__name__)

_FAILURES = (SQLAlchemyError, sqlite3.Error, OSError)
_SQLITE = {"sqlite", "sqlite+pysqlite", "sqlite+aiosqlite"}
_POSTGRESQL = {"postgres", "postgresql", "postgresql+asyncpg"}
_ANSWERS_WITHIN = 2.0  # seconds
_OPENS_WITHIN = 10.0
_ENDS_WITHIN = 15.0
_QUOTED_ARGUMENT = re.compile(r"(invalid input for query argument \$\d+).*")


class Connections(Protocol):
    """How one kind of database is reached."""

    async def open(self) -> None: ...
    async def close(self) -> None: ...
    async def write[T](self, work: Callable[[Connection], T]) -> T: ...
    async def read[T](self, work: Callable[[Connection], T]) -> T: ...
    def away(self, error: BaseException) -> bool:
        """Whether an error means that the database cannot be reached now, and may be later."""
        ...


class Database:
    """SQLite or PostgreSQL. Used between `open()` and `close()`, in one event loop.

    A transaction is a plain function of an SQLAlchemy connection. It must touch nothing but that connection:
    it runs in a worker thread (SQLite) or beside the event loop (PostgreSQL).

    A database that cannot be reached at `open()` is opened by the first transaction that can.
    """

    def __init__(self, url: str | URL, connections: Connections | None = None) -> None:
        """Take a URL such as `postgresql://user@host/name`. Nothing is opened yet.

        Raises ConfigurationError.
        """
        self._url = _parsed(url)
        self._connections = connections or _connections(self._url)
        self._is_open = False
        self._closed = False
        self._opening: asyncio.Task[None] | None = None
        self._probe: asyncio.Task[None] | None = None
        self._running: set[asyncio.Task[Any]] = set()

    @classmethod
    def at(cls, path: Path) -> Self:
        """The SQLite database in a file; `open()` makes it and its directory if they are missing."""
        return cls(URL.create("sqlite", database=str(path)))

    @classmethod
    def in_memory(cls) -> Self:
        """A SQLite database of this object alone, gone when it is closed."""
        return cls(URL.create("sqlite", database="in memory"), SqliteConnections(None))

    @property
    def dialect(self) -> str:
        """`sqlite` or `postgresql`."""
        return self._url.get_backend_name()

    @property
    def name(self) -> str:
        """The URL without its password."""
        return self._url.render_as_string(hide_password=True)

    def __repr__(self) -> str:
        return f"Database({self.name!r})"

    async def open(self) -> None:
        """Connect, and bring the tables up to date; processes that start together wait for each other.

        Raises StartupError, but not for a database that is merely away.
        """
        self._closed = False
        try:
            await self._open(within=None)
        except _FAILURES as error:
            reason = f"The database {self.name} cannot be opened: {_first_line(error)}"
            if not self._connections.away(error):
                await self.close()
                raise StartupError(reason) from None
            logger.error("%s; it is tried again", reason)
        except BaseException:
            await self.close()
            raise

    async def close(self) -> None:
        """Let running transactions end, and close all connections. New transactions fail."""
        self._closed = True
        self._is_open = False
        if self._running:
            await asyncio.wait(self._running, timeout=_ENDS_WITHIN)
        waiting = [task for task in (self._opening, self._probe) if task is not None]
        for task in waiting:
            task.cancel()
        await asyncio.gather(*waiting, return_exceptions=True)
        self._opening = self._probe = None
        await self._connections.close()

    async def write[T](self, work: Callable[[Connection], T]) -> T:
        """Run a transaction: all of it is kept, or nothing if `work` raises. Returns what `work` returns.

        A caller that is cancelled meanwhile is cancelled after the transaction has ended. On SQLite writers
        wait for each other, also for those in other processes. Raises StorageError.
        """
        with _reported():
            return await self._to_completion(self._transact(self._connections.write, work))

    async def read[T](self, work: Callable[[Connection], T]) -> T:
        """As `write`, for transactions that only read: on SQLite they wait for nobody."""
        with _reported():
            return await self._to_completion(self._transact(self._connections.read, work))

    async def trouble(self) -> str | None:
        """Why the database does not answer at this moment, in one line, or None if it does."""
        if self._probe is None or self._probe.done():
            self._probe = asyncio.create_task(self._transact(self._connections.read, _ask))
            self._probe.add_done_callback(_retrieve)
        await asyncio.wait([self._probe], timeout=_ANSWERS_WITHIN)
        if not self._probe.done():
            return f"{self.name} does not answer within {_ANSWERS_WITHIN:g} seconds"
        if self._probe.cancelled():
            return f"{self.name} is closed"
        error = self._probe.exception()
        return None if error is None else f"{self.name}: {_first_line(error)}"

    async def _transact[T](
        self,
        run: Callable[[Callable[[Connection], T]], Coroutine[Any, Any, T]],
        work: Callable[[Connection], T],
    ) -> T:
        if self._closed:
            raise ConnectionError("the database is closed")
        if not self._is_open:
            await self._open(within=_OPENS_WITHIN)
        return await run(work)

    async def _to_completion[T](self, work: Coroutine[Any, Any, T]) -> T:
        task = asyncio.create_task(work)
        self._running.add(task)
        task.add_done_callback(self._running.discard)
        cancelled: asyncio.CancelledError | None = None
        with anyio.CancelScope(shield=True):
            while not task.done():
                try:
                    await asyncio.wait([task])
                except asyncio.CancelledError as error:
                    cancelled = error
        if cancelled is None:
            return task.result()
        if not task.cancelled() and (failure := task.exception()):
            logger.error("A transaction of a cancelled request failed: %s", _first_line(failure))
        raise cancelled

    async def _open(self, within: float | None) -> None:
        # All who want it wait for the same attempt: one after the other they would wait for ever.
        if self._opening is None or self._opening.done():
            self._opening = asyncio.create_task(self._connections.open())
            self._opening.add_done_callback(_retrieve)
        opening = self._opening
        await asyncio.wait([opening], timeout=within)
        if not opening.done():
            raise TimeoutError("the database is still being opened")
        if opening.cancelled():
            raise ConnectionError("the database is closed")
        opening.result()
        self._is_open = not self._closed


def _ask(connection: Connection) -> None:
    connection.exec_driver_sql("SELECT 1")


def _retrieve(task: asyncio.Task[None]) -> None:
    """Spare asyncio's complaint about an error that nobody has waited for."""
    if not task.cancelled():
        task.exception()


@contextmanager
def _reported() -> Iterator[None]:
    try:
        yield
    except StartupError as error:
        logger.error("%s", error)
        raise StorageError("Failed to query the database") from None
    except _FAILURES as error:
        logger.error("The database failed: %s", _first_line(error))
        # Not chained: further lines of a driver's message quote rows, which belong to users.
        raise StorageError("Failed to query the database") from None


def _parsed(url: str | URL) -> URL:
    try:
        parsed = make_url(url)
    except (ArgumentError, ValueError):
        raise ConfigurationError("The database URL cannot be read") from None
    if parsed.query:
        raise ConfigurationError("The database URL must not have parameters")
    if parsed.drivername in _POSTGRESQL:
        return parsed.set(drivername="postgresql+asyncpg")
    if parsed.drivername not in _SQLITE:
        raise ConfigurationError(f"The database {parsed.drivername!r} is neither SQLite nor PostgreSQL")
    if parsed.database in (None, "", ":memory:"):
        raise ConfigurationError("A SQLite database needs a file")
    return parsed.set(drivername="sqlite")


def _connections(url: URL) -> Connections:
    if url.get_backend_name() == "sqlite":
        return SqliteConnections(Path(url.database or ""))
    # Imported where it is used: most installations never need it.
    from lightspeed.storage.postgresql import PostgresqlConnections

    return PostgresqlConnections(url)


def _first_line(error: BaseException) -> str:
    """The class and the first line of the driver's own error, without what it quotes of users' data."""
    original = getattr(error, "orig", None)
    # SQLAlchemy puts an error of its own around those of asyncpg.
    shown = (original.__cause__ or original) if original else error
    line = next(iter(str(shown).splitlines()), "")
    return f"{type(shown).__name__}: {_QUOTED_ARGUMENT.sub(r'\1', line)}".removesuffix(": ")
