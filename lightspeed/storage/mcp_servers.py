"""MCP servers that users have added through the API, and whose they are. Those of the configuration stand nowhere here."""

from dataclasses import asdict
from typing import Any, Literal

from sqlalchemy import Connection, Row, delete, func, select

from lightspeed.storage.database import Database
from lightspeed.storage.registered_server import RegisteredServer
from lightspeed.storage.schema import mcp_servers
from lightspeed.storage.upsert import insert_into

# The first of the two numbers that PostgreSQL locks; the other one is made of the user.
_LOCK = 7


class RegisteredServers:
    """The servers of all users; a name belongs to one of them. All methods raise StorageError.

    Nothing is remembered in this process, so that all of them see the same from one request to the next.
    """

    def __init__(self, database: Database) -> None:
        self._database = database

    async def add(self, server: RegisteredServer, *, limit: int) -> Literal["added", "taken", "full"]:
        """Keep a server, unless its name is taken, or its user has `limit` servers already."""
        row = asdict(server) | {
            "authorization_headers": dict(server.authorization_headers),
            "headers": list(server.headers),
        }

        def register(connection: Connection) -> Literal["added", "taken", "full"]:
            if connection.dialect.name == "postgresql":
                # SQLite has one writer at a time anyway. Here two of one user wait for each other, to be counted.
                key = func.hashtext(server.user_id)
                connection.execute(select(func.pg_advisory_xact_lock(_LOCK, key)))
            if connection.execute(_named(server.name)).first() is not None:
                return "taken"
            held = select(func.count()).where(mcp_servers.c.user_id == server.user_id)
            if connection.execute(held).scalar_one() >= limit:
                return "full"
            added = insert_into(connection.dialect.name, mcp_servers).values(row).on_conflict_do_nothing()
            return "added" if connection.execute(added).rowcount > 0 else "taken"

        return await self._database.write(register)

    async def owned(self, user_id: str | None) -> list[RegisteredServer]:
        """The servers of a user, or with None of everyone, in the order in which they were added."""
        statement = select(mcp_servers).order_by(mcp_servers.c.created_at, mcp_servers.c.name)
        if user_id is not None:
            statement = statement.where(mcp_servers.c.user_id == user_id)
        return await self._database.read(
            lambda connection: [_server(row) for row in connection.execute(statement)]
        )

    async def remove(self, name: str, user_id: str | None) -> bool:
        """Forget a server of a user, or with None of anyone. False if there is no such server."""
        statement = delete(mcp_servers).where(mcp_servers.c.name == name)
        if user_id is not None:
            statement = statement.where(mcp_servers.c.user_id == user_id)
        return await self._database.write(lambda connection: connection.execute(statement).rowcount > 0)

    async def count_user(self, user_id: str) -> int:
        """How many servers a user has."""
        statement = select(func.count()).select_from(mcp_servers).where(mcp_servers.c.user_id == user_id)
        return await self._database.read(lambda connection: connection.execute(statement).scalar_one())

    async def erase_user(self, user_id: str) -> int:
        """Forget all servers of a user; returns how many."""
        statement = delete(mcp_servers).where(mcp_servers.c.user_id == user_id)
        return await self._database.write(lambda connection: connection.execute(statement).rowcount)


def _named(name: str) -> Any:
    return select(mcp_servers.c.name).where(mcp_servers.c.name == name)


def _server(row: Row[Any]) -> RegisteredServer:
    return RegisteredServer(**{**row._mapping, "headers": tuple(row.headers)})
