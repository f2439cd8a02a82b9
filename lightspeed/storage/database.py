"""The database: transactions, and tables brought up to date at start."""

import asyncio
import logging
import sqlite3
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import anyio
from sqlalchemy import URL, Connection, make_url
from sqlalchemy.exc import ArgumentError, SQLAlchemyError

from lightspeed.errors import ConfigurationError, StartupError, StorageError
from lightspeed.storage.sqlite import SqliteConnections

if TYPE_CHECKING:
    from lightspeed.storage.postgresql import PostgresqlConnections

logger = logging.getLogger(__name__)

_FAILURES = (SQLAlchemyError, sqlite3.Error, OSError)
_SQLITE = {"sqlite", "sqlite+pysqlite", "sqlite+aiosqlite"}
_POSTGRESQL = {"postgres", "postgresql", "postgresql+asyncpg"}


class Database:
    """SQLite or PostgreSQL. Used between `open()` and `close()`, in one event loop.

    A transaction is a plain function of an SQLAlchemy connection. It must touch nothing but that connection:
    it runs in a worker thread (SQLite) or beside the event loop (PostgreSQL).
    """

    def __init__(self, url: str | URL) -> None:
        """Take a URL such as `postgresql://user@host/name`. Nothing is opened yet.

        Raises ConfigurationError.
        """
        self._url = _parsed(url)
        self._connections = _connections(self._url)

    @classmethod
    def at(cls, path: Path) -> Self:
        """The SQLite database in a file; `open()` makes it and its directory if they are missing."""
        return cls(URL.create("sqlite", database=str(path)))

    @property
    def dialect(self) -> str:
        """`sqlite` or `postgresql`."""
        return self._url.get_backend_name()

    def __repr__(self) -> str:
        return f"Database({self._name!r})"

    async def open(self) -> None:
        """Connect, and bring the tables up to date; processes that start together wait for each other.

        Raises StartupError.
        """
        try:
            await self._connections.open()
        except _FAILURES as error:
            await self.close()
            raise StartupError(f"The database {self._name} cannot be opened: {_first_line(error)}") from None
        except BaseException:
            await self.close()
            raise

    async def close(self) -> None:
        """Close all connections."""
        await self._connections.close()

    async def write[T](self, work: Callable[[Connection], T]) -> T:
        """Run a transaction: all of it is kept, or nothing if `work` raises. Returns what `work` returns.

        A caller that is cancelled meanwhile is cancelled after the transaction has ended. On SQLite writers
        wait for each other, also for those in other processes. Raises StorageError.
        """
        with _reported():
            return await _to_completion(self._connections.write(work))

    async def read[T](self, work: Callable[[Connection], T]) -> T:
        """As `write`, for transactions that only read: on SQLite they wait for nobody."""
        with _reported():
            return await _to_completion(self._connections.read(work))

    @property
    def _name(self) -> str:
        return self._url.render_as_string(hide_password=True)


@contextmanager
def _reported() -> Iterator[None]:
    try:
        yield
    except _FAILURES as error:
        logger.error("The database failed: %s", _first_line(error))
        # Not chained: further lines of a driver's message quote rows, which belong to users.
        raise StorageError("Failed to query the database") from None


async def _to_completion[T](work: Coroutine[Any, Any, T]) -> T:
    task = asyncio.create_task(work)
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


def _parsed(url: str | URL) -> URL:
    try:
        parsed = make_url(url)
    except (ArgumentError, ValueError):
        raise ConfigurationError("The database URL cannot be read") from None
    if parsed.drivername in _POSTGRESQL:
        return parsed.set(drivername="postgresql+asyncpg")
    if parsed.drivername not in _SQLITE:
        raise ConfigurationError(f"The database {parsed.drivername!r} is neither SQLite nor PostgreSQL")
    if parsed.database in (None, "", ":memory:"):
        raise ConfigurationError("A SQLite database needs a file")
    return parsed.set(drivername="sqlite")


def _connections(url: URL) -> "SqliteConnections | PostgresqlConnections":
    if url.get_backend_name() == "sqlite":
        return SqliteConnections(url)
    from lightspeed.storage.postgresql import PostgresqlConnections

    try:
        return PostgresqlConnections(url)
    except ImportError:
        raise ConfigurationError(
            "PostgreSQL needs the package asyncpg: install lightspeed[postgres]"
        ) from None


def _first_line(error: BaseException) -> str:
    original = getattr(error, "orig", None) or error
    line = next(iter(str(original).splitlines()), "")
    return f"{type(original).__name__}: {line}"
