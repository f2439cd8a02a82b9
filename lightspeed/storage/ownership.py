"""Who owns which vector store and which file. What the configuration names has no owner and stands nowhere here."""

import time
from collections.abc import Collection
from dataclasses import asdict
from typing import Literal

from sqlalchemy import (
    ColumnElement,
    Connection,
    Select,
    and_,
    delete,
    func,
    insert,
    or_,
    select,
    tuple_,
    update,
)

from lightspeed.errors import NotFound
from lightspeed.storage.database import Database
from lightspeed.storage.owned import OwnedFile, OwnedStore
from lightspeed.storage.schema import files, vector_stores

_stores = vector_stores

_IDS_AT_ONCE = 500


class Ownership:
    """Rows about what users have made through the API. All methods raise StorageError.

    A row of a store is written before the store and removed after it, so that a store is never without its owner.
    """

    def __init__(self, database: Database) -> None:
        self._database = database

    async def add_store(self, store: OwnedStore) -> None:
        await self._database.write(
            lambda connection: connection.execute(insert(_stores), asdict(store)) and None
        )

    async def store(self, store_id: str) -> OwnedStore | None:
        found = await self._database.read(
            lambda connection: _owned_stores(connection, select(_stores).where(_stores.c.id == store_id))
        )
        return found[0] if found else None

    async def stores(self, user_id: str | None) -> list[OwnedStore]:
        """All stores of a user, or with None of everyone, newest first."""
        statement = select(_stores).order_by(_stores.c.created_at.desc(), _stores.c.id.desc())
        if user_id is not None:
            statement = statement.where(_stores.c.user_id == user_id)
        return await self._database.read(lambda connection: _owned_stores(connection, statement))

    async def set_expiry(self, store_id: str, expires_at: int) -> None:
        """Change when a store expires, in seconds since 1970."""
        statement = update(_stores).where(_stores.c.id == store_id).values(expires_at=expires_at)
        await self._database.write(lambda connection: connection.execute(statement) and None)

    async def remove_store(self, store_id: str) -> bool:
        """False if there was no such row."""
        statement = delete(_stores).where(_stores.c.id == store_id)
        return await self._database.write(lambda connection: connection.execute(statement).rowcount > 0)

    async def visible(self, user_id: str) -> frozenset[str]:
        """The ids of the stores of a user that have not expired: what this user may search of all owned ones."""
        statement = select(_stores.c.id).where(
            _stores.c.user_id == user_id,
            or_(_stores.c.expires_at.is_(None), _stores.c.expires_at > int(time.time())),
        )
        return await self._database.read(
            lambda connection: frozenset(connection.execute(statement).scalars())
        )

    async def owned_by_others(self, ids: Collection[str], user_id: str) -> frozenset[str]:
        """Those of the ids that belong to another user."""
        wanted = list(dict.fromkeys(ids))
        if not wanted:
            return frozenset()

        def find(connection: Connection) -> frozenset[str]:
            found: set[str] = set()
            for start in range(0, len(wanted), _IDS_AT_ONCE):
                some = wanted[start : start + _IDS_AT_ONCE]
                statement = select(_stores.c.id).where(_stores.c.id.in_(some), _stores.c.user_id != user_id)
                found.update(connection.execute(statement).scalars())
            return frozenset(found)

        return await self._database.read(find)

    async def add_file(self, file: OwnedFile) -> None:
        await self._database.write(
            lambda connection: connection.execute(insert(files), asdict(file)) and None
        )

    async def file(self, file_id: str) -> OwnedFile | None:
        statement = select(files).where(files.c.id == file_id)
        found = await self._database.read(lambda connection: _owned_files(connection, statement))
        return found[0] if found else None

    async def count_files(self, user_id: str) -> int:
        """How many files a user has uploaded."""
        statement = select(func.count()).select_from(files).where(files.c.user_id == user_id)
        return await self._database.read(lambda connection: connection.execute(statement).scalar_one())

    async def files(
        self,
        user_id: str | None,
        *,
        limit: int,
        order: Literal["asc", "desc"] = "desc",
        after: str | None = None,
        before: str | None = None,
    ) -> list[OwnedFile]:
        """A page of the files of a user, or with None of everyone.

        `after` gives the page that follows this id, `before` the page that ends just before it. Raises NotFound if
        such an id is not among the files.
        """
        own = [] if user_id is None else [files.c.user_id == user_id]
        # The page before an id is found by going the other way.
        backwards = before is not None and after is None
        descending = (order == "desc") is not backwards

        def find(connection: Connection) -> list[OwnedFile]:
            conditions: list[ColumnElement[bool]] = list(own)
            if after is not None:
                conditions.append(_beyond(connection, after, own, descending=order == "desc"))
            if before is not None:
                conditions.append(_beyond(connection, before, own, descending=order != "desc"))
            keys = (files.c.created_at, files.c.id)
            statement = (
                select(files)
                .where(and_(True, *conditions))
                .order_by(*(key.desc() if descending else key.asc() for key in keys))
                .limit(limit)
            )
            found = _owned_files(connection, statement)
            return found[::-1] if backwards else found

        return await self._database.read(find)

    async def remove_file(self, file_id: str) -> bool:
        """False if there was no such row."""
        statement = delete(files).where(files.c.id == file_id)
        return await self._database.write(lambda connection: connection.execute(statement).rowcount > 0)


def _owned_stores(connection: Connection, statement: Select[tuple[object, ...]]) -> list[OwnedStore]:
    return [OwnedStore(**row._mapping) for row in connection.execute(statement)]


def _owned_files(connection: Connection, statement: Select[tuple[object, ...]]) -> list[OwnedFile]:
    return [OwnedFile(**row._mapping) for row in connection.execute(statement)]


def _beyond(
    connection: Connection, file_id: str, own: Collection[ColumnElement[bool]], *, descending: bool
) -> ColumnElement[bool]:
    """What lies older than a file (`descending`) or newer. Raises NotFound."""
    place = connection.execute(
        select(files.c.created_at, files.c.id).where(files.c.id == file_id, *own)
    ).one_or_none()
    if place is None:
        raise NotFound("File", file_id)
    here = tuple_(*place, types=[files.c.created_at.type, files.c.id.type])
    keys = tuple_(files.c.created_at, files.c.id)
    return keys < here if descending else keys > here
