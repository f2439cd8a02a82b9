"""PostgreSQL over asyncpg."""

from collections.abc import Callable

from anyio import to_thread
from sqlalchemy import URL, Connection, text
from sqlalchemy.ext.asyncio import create_async_engine

from lightspeed.storage.encoding import json_text
from lightspeed.storage.migrations import Migrations

_MIGRATION_LOCK = 0x6C69676874737064  # "lightspd"


class PostgresqlConnections:
    """Runs transactions on a pool of connections; concurrent ones lock rows, not the database."""

    def __init__(self, url: URL) -> None:
        self._engine = create_async_engine(
            url, hide_parameters=True, json_serializer=json_text, pool_pre_ping=True
        )

    async def open(self) -> None:
        migrations = await to_thread.run_sync(Migrations)
        async with self._engine.begin() as connection:
            await connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _MIGRATION_LOCK})
            await connection.run_sync(migrations.upgrade)

    async def close(self) -> None:
        await self._engine.dispose()

    async def write[T](self, work: Callable[[Connection], T]) -> T:
        async with self._engine.begin() as connection:
            return await connection.run_sync(work)

    async def read[T](self, work: Callable[[Connection], T]) -> T:
        return await self.write(work)
