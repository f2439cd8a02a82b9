"""PostgreSQL over asyncpg."""

import asyncio
import ssl
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal
from weakref import WeakSet

import asyncpg  # type: ignore[import-untyped]
from anyio import to_thread
from sqlalchemy import URL, Connection, text
from sqlalchemy.exc import DBAPIError, InterfaceError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine
from sqlalchemy.pool import NullPool
from sqlalchemy.sql.ddl import CreateSchema
from sqlalchemy.sql.elements import quoted_name

from lightspeed.errors import StartupError
from lightspeed.storage.encoding import json_text
from lightspeed.storage.migrations import Migrations

type SslMode = Literal["disable", "allow", "prefer", "require", "verify-ca", "verify-full"]

_MIGRATION_LOCK = 0x6C69676874737064  # "lightspd"
_CONNECTS_WITHIN = 5.0  # seconds
_MIGRATES_WITHIN = 600.0
_CLOSES_WITHIN = 3.0
_CONNECTIONS = 10
# Connection trouble, too many clients or no room, and a server that starts or stops.
_AWAY = ("08", "53", "57P")
_NO_ENTRY = "28000"  # in pg_hba.conf, for this kind of connection


@dataclass(frozen=True, slots=True)
class PostgresqlSettings:
    """`namespace` is the schema that holds the tables; it is made if it is missing.

    `ssl_mode` means what it means to libpq. `ca_certificates` is a PEM file, and asks for a check of the server's
    certificate from `require` on; without it, those that verify trust the authorities of the system.
    """

    namespace: str | None = None
    ssl_mode: SslMode = "prefer"
    ca_certificates: Path | None = None
    answers_within: float = 10.0
    """Seconds that a statement may take."""


class PostgresqlConnections:
    """Runs transactions on a pool of connections; concurrent ones lock rows, not the database."""

    def __init__(self, url: URL, settings: PostgresqlSettings | None = None) -> None:
        self._url = url
        self._settings = settings or PostgresqlSettings()
        self._encryptions: tuple[ssl.SSLContext | None, ...] = ()
        self._engine: AsyncEngine | None = None
        self._connected: WeakSet[Any] = WeakSet()

    async def open(self) -> None:
        # Reads files: certificates, revisions, and the driver's code.
        self._encryptions, migrations, engine, migrating = await to_thread.run_sync(self._prepare)
        await self._migrate(migrations, migrating)
        self._engine = engine

    async def close(self) -> None:
        engine, self._engine = self._engine, None
        # Not left to the pool, which would wait for a server that does not answer.
        closing = (connection.close(timeout=_CLOSES_WITHIN) for connection in self._connected)
        await asyncio.gather(*closing, return_exceptions=True)
        if engine is not None:
            await engine.dispose()

    async def write[T](self, work: Callable[[Connection], T]) -> T:
        if self._engine is None:
            raise ConnectionError("the database is not open")
        async with self._engine.begin() as connection:
            return await connection.run_sync(work)

    async def read[T](self, work: Callable[[Connection], T]) -> T:
        return await self.write(work)

    def away(self, error: BaseException) -> bool:
        """The server or the network is down, or has no room; a wrong password stays wrong."""
        if isinstance(error, DBAPIError):
            state = getattr(error.orig, "sqlstate", None)
            if isinstance(state, str):
                return state.startswith(_AWAY)
            return isinstance(error, InterfaceError)
        return isinstance(error, OSError | PoolTimeoutError) and not isinstance(error, ssl.SSLError)

    def _prepare(
        self,
    ) -> tuple[tuple[ssl.SSLContext | None, ...], Migrations, AsyncEngine, AsyncEngine]:
        engine = create_async_engine(
            self._url,
            async_creator=self._connect,
            hide_parameters=True,
            json_serializer=json_text,
            max_overflow=0,
            pool_pre_ping=True,
            pool_size=_CONNECTIONS,
            pool_timeout=self._settings.answers_within,
        )
        # On connections of their own, which may take their time.
        migrating = create_async_engine(
            self._url, async_creator=self._connect_patiently, hide_parameters=True, poolclass=NullPool
        )
        return _encryptions(self._settings), Migrations(), engine, migrating

    async def _migrate(self, migrations: Migrations, engine: AsyncEngine) -> None:
        async with engine.begin() as connection:
            await connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _MIGRATION_LOCK})
            if self._settings.namespace:
                await connection.run_sync(_make_schema, self._settings.namespace)
            await connection.run_sync(migrations.upgrade)

    async def _connect(self) -> Any:
        return await self._connection(self._settings.answers_within)

    async def _connect_patiently(self) -> Any:
        return await self._connection(_MIGRATES_WITHIN)

    async def _connection(self, command_timeout: float) -> Any:
        """Try each kind of encryption, because asyncpg would read files in the event loop to do so itself."""
        *others, last = self._encryptions
        try:
            for encryption in others:
                try:
                    return await self._attempt(encryption, command_timeout)
                except (ConnectionError, ssl.SSLError):
                    continue
                except asyncpg.InvalidAuthorizationSpecificationError as error:
                    if error.sqlstate != _NO_ENTRY:
                        raise
            return await self._attempt(last, command_timeout)
        except (asyncpg.PostgresError, asyncpg.InterfaceError) as error:
            raise OperationalError(None, None, error) from None
        except ConnectionError as error:
            if "rejected SSL" in str(error):
                # The server has no encryption, which stays as it is.
                raise OperationalError(None, None, error) from None
            raise

    async def _attempt(self, encryption: ssl.SSLContext | None, command_timeout: float) -> Any:
        url, namespace = self._url, self._settings.namespace
        settings = {"application_name": "lightspeed"}
        if namespace:
            quoted = namespace.replace('"', '""')
            settings["search_path"] = f'"{quoted}"'
        connection = await asyncpg.connect(
            host=url.host,
            port=url.port,
            user=url.username,
            # Without one, the driver would look for one in the home directory.
            password=url.password or "",
            database=url.database,
            ssl=encryption or False,
            timeout=_CONNECTS_WITHIN,
            command_timeout=command_timeout,
            server_settings=settings,
        )
        self._connected.add(connection)
        return connection


def _make_schema(connection: Connection, name: str) -> None:
    # Not CREATE SCHEMA IF NOT EXISTS: that asks for the right to create, also where there is nothing to do. The cast
    # shortens a name as PostgreSQL does everywhere else.
    there = text("SELECT 1 FROM pg_namespace WHERE nspname = CAST(CAST(:name AS text) AS name)")
    if connection.scalar(there, {"name": name}) is None:
        connection.execute(CreateSchema(quoted_name(name, quote=True)))


def _encryptions(settings: PostgresqlSettings) -> tuple[ssl.SSLContext | None, ...]:
    """What to try, in this order; None is a connection in the clear."""
    mode = settings.ssl_mode
    if mode == "disable":
        return (None,)
    if mode.startswith("verify") or (mode == "require" and settings.ca_certificates):
        return (_verifying(settings.ca_certificates, host_too=mode == "verify-full"),)
    unverified = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    unverified.check_hostname = False
    unverified.verify_mode = ssl.CERT_NONE
    if mode == "require":
        return (unverified,)
    return (None, unverified) if mode == "allow" else (unverified, None)


def _verifying(certificates: Path | None, *, host_too: bool) -> ssl.SSLContext:
    try:
        context = ssl.create_default_context(cafile=certificates)
    except OSError as error:
        raise StartupError(f"The certificates in {certificates} cannot be read: {error}") from None
    context.check_hostname = host_too
    return context
