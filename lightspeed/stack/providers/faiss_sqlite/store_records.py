"""What the catalog knows of the stores."""

# ruff: noqa: S608 (what is put into SQL are constants; values are parameters)

import json
import sqlite3
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from lightspeed.stack.providers.faiss_sqlite.catalog import Catalog
from lightspeed.stack.providers.faiss_sqlite.folders import folder_name
from lightspeed.stack.providers.faiss_sqlite.paging import Listing, Window

_DAY = 86_400
_COLUMNS = (
    "id, provider_id, folder, name, embedding_model, dimension, chunking, metadata, created_at, "
    "last_active_at, expires_after_days, fingerprint"
)
_STORES = Listing(_COLUMNS, "stores", "id", "NOT deleting")


@dataclass(frozen=True, slots=True)
class NewStore:
    """A store to be known. `embedding_model` is its public name, `dimension` the length of its vectors."""

    id: str
    provider_id: str
    embedding_model: str
    dimension: int
    name: str | None = None


@dataclass(frozen=True, slots=True)
class StoreRecord:
    """One store.

    `folder` is the name of its folder; `chunking` the chunking strategy as the stack writes it; times are Unix
    seconds. `fingerprint` tells from what state of another database it was converted.
    """

    id: str
    provider_id: str
    folder: str
    name: str | None
    embedding_model: str
    dimension: int
    chunking: dict[str, Any] | None
    metadata: dict[str, Any]
    created_at: int
    last_active_at: int
    expires_after_days: int | None
    fingerprint: str | None

    @property
    def expires_at(self) -> int | None:
        """The moment in Unix seconds, which every use moves on."""
        if self.expires_after_days is None:
            return None
        return self.last_active_at + self.expires_after_days * _DAY

    @property
    def is_expired(self) -> bool:
        return self.expires_at is not None and self.expires_at <= time.time()


@dataclass(frozen=True, slots=True)
class StoreChanges:
    """What is null stays as it is. An `expires_after_days` of 0 ends the expiry."""

    name: str | None = None
    metadata: Mapping[str, Any] | None = None
    chunking: Mapping[str, Any] | None = None
    expires_after_days: int | None = None
    embedding_model: str | None = None
    columns: Mapping[str, Any] = field(default_factory=dict)


class StoreRecords:
    """Reads and writes the stores of the catalog. A store that is being deleted is no more."""

    def __init__(self, catalog: Catalog) -> None:
        self._catalog = catalog

    def add(self, new: NewStore) -> StoreRecord:
        """The store with this id, made unless it is there."""
        now = int(time.time())
        with self._catalog.write() as connection:
            connection.execute(
                "INSERT INTO stores (id, provider_id, folder, name, embedding_model, dimension, metadata, "
                "created_at, last_active_at) VALUES (?, ?, ?, ?, ?, ?, '{}', ?, ?) ON CONFLICT (id) DO NOTHING",
                (
                    new.id,
                    new.provider_id,
                    folder_name(new.id),
                    new.name,
                    new.embedding_model,
                    new.dimension,
                    now,
                    now,
                ),
            )
            row = connection.execute(f"SELECT {_COLUMNS} FROM stores WHERE id = ?", (new.id,)).fetchone()
        return _record(row)

    def get(self, store_id: str) -> StoreRecord | None:
        with self._catalog.read() as connection:
            return _get(connection, store_id)

    def has_files(self, store_id: str) -> bool:
        """Whether files have been read into the store."""
        with self._catalog.read() as connection:
            statement = "SELECT 1 FROM attachments WHERE store_id = ? AND status = 'completed' LIMIT 1"
            return connection.execute(statement, (store_id,)).fetchone() is not None

    def page(self, window: Window) -> tuple[list[StoreRecord], bool]:
        """Some stores, and whether there are more. Raises ValueError for an unknown cursor."""
        with self._catalog.read() as connection:
            rows, more = _STORES.rows(connection, window)
        return [_record(row) for row in rows], more

    def change(self, store_id: str, changes: StoreChanges) -> StoreRecord | None:
        """The store as it is then, None if there is none. An expired store lives again with a new expiry only."""
        columns: dict[str, Any] = dict(changes.columns)
        if changes.name is not None:
            columns["name"] = changes.name
        if changes.metadata is not None:
            columns["metadata"] = json.dumps(dict(changes.metadata))
        if changes.chunking is not None:
            columns["chunking"] = json.dumps(dict(changes.chunking))
        if changes.expires_after_days is not None:
            columns["expires_after_days"] = changes.expires_after_days or None
        if changes.embedding_model is not None:
            columns["embedding_model"] = changes.embedding_model
        with self._catalog.write() as connection:
            record = _get(connection, store_id)
            if record is None:
                return None
            if not record.is_expired or changes.expires_after_days is not None:
                columns["last_active_at"] = int(time.time())
            if columns:
                set_columns(connection, store_id, columns)
            return _get(connection, store_id)

    def touch(self, store_id: str) -> None:
        """The store has been used now; unless it has expired before."""
        with self._catalog.write() as connection:
            connection.execute(
                "UPDATE stores SET last_active_at = ? WHERE id = ? AND "
                f"(expires_after_days IS NULL OR last_active_at + expires_after_days * {_DAY} > ?)",
                (int(time.time()), store_id, time.time()),
            )

    def begin_deleting(self, store_id: str) -> None:
        """From now on nobody finds the store; its id is free when `forget` has been called."""
        with self._catalog.write() as connection:
            connection.execute("UPDATE stores SET deleting = 1 WHERE id = ?", (store_id,))

    def being_deleted(self, store_id: str | None = None) -> list[tuple[str, str]]:
        """Ids and folders of stores whose deletion is not complete, or of the one with an id."""
        with self._catalog.read() as connection:
            return connection.execute(
                "SELECT id, folder FROM stores WHERE deleting AND (:id IS NULL OR id = :id)", {"id": store_id}
            ).fetchall()

    def forget(self, store_id: str) -> None:
        """Remove a store that is being deleted, with its files and batches."""
        with self._catalog.write() as connection:
            if not connection.execute("DELETE FROM stores WHERE id = ? AND deleting", (store_id,)).rowcount:
                return
            connection.execute(
                "DELETE FROM batch_files WHERE batch_id IN (SELECT id FROM batches WHERE store_id = ?)",
                (store_id,),
            )
            connection.execute("DELETE FROM batches WHERE store_id = ?", (store_id,))
            connection.execute("DELETE FROM attachments WHERE store_id = ?", (store_id,))


def set_columns(connection: sqlite3.Connection, store_id: str, columns: Mapping[str, Any]) -> None:
    """Write columns of one store; their names come from this package only."""
    assignments = ", ".join(f"{column} = ?" for column in columns)
    connection.execute(f"UPDATE stores SET {assignments} WHERE id = ?", (*columns.values(), store_id))


def _get(connection: sqlite3.Connection, store_id: str) -> StoreRecord | None:
    statement = f"SELECT {_COLUMNS} FROM stores WHERE id = ? AND NOT deleting"
    row = connection.execute(statement, (store_id,)).fetchone()
    return None if row is None else _record(row)


def _record(row: tuple[Any, ...]) -> StoreRecord:
    values = list(row)
    values[6] = json.loads(row[6]) if row[6] else None
    values[7] = json.loads(row[7])
    return StoreRecord(*values)
