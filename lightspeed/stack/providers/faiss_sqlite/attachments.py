"""The files of the stores in the catalog, each with the job that reads it."""

# ruff: noqa: S608 (what is put into SQL are constants; values are parameters)

import json
import sqlite3
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from lightspeed.stack.providers.faiss_sqlite.catalog import Catalog
from lightspeed.stack.providers.faiss_sqlite.chunks import Scalar
from lightspeed.stack.providers.faiss_sqlite.paging import Listing, Window

IN_PROGRESS, COMPLETED, FAILED, CANCELLED = STATUSES = ("in_progress", "completed", "failed", "cancelled")
ERROR_CODES = ("server_error", "rate_limit_exceeded", "unsupported_file", "invalid_file")

_COLUMNS = (
    "store_id, file_id, filename, status, attributes, chunking, origin, created_at, usage_bytes, done, total, "
    "error_code, error_message, claims"
)
_OF_BATCH = "SELECT file_id FROM batch_files WHERE batch_id = ?"


@dataclass(frozen=True, slots=True)
class Attachment:
    """A file in a store.

    `attributes` are the client's, `origin` the metadata that all its chunks got from the document, `chunking` the
    strategy as the stack writes it. `done` of `total` chunks are embedded. `claims` counts how often a process
    has begun to read it. Times are Unix seconds.
    """

    store_id: str
    file_id: str
    filename: str
    status: str
    attributes: dict[str, Scalar]
    chunking: dict[str, Any]
    origin: dict[str, Scalar]
    created_at: int
    usage_bytes: int
    done: int
    total: int
    error_code: str | None
    error_message: str | None
    claims: int


class Attachments:
    """Reads and writes the files of the catalog. Safe across processes: a job has one owner at a time.

    An owner holds the job until its lease ends; then anyone may take it over.
    """

    def __init__(self, catalog: Catalog, owner: str, *, lease_seconds: float) -> None:
        self._catalog = catalog
        self._owner = owner
        self._lease_seconds = lease_seconds

    def attach(
        self, store_id: str, file_id: str, attributes: Mapping[str, Scalar], chunking: Mapping[str, Any]
    ) -> None:
        """Make a job of the file, unless it is there and neither failed nor cancelled."""
        with self._catalog.write() as connection:
            self._attach(connection, store_id, file_id, attributes, chunking)

    def attach_batch(
        self,
        batch_id: str,
        store_id: str,
        file_ids: list[str],
        attributes: Mapping[str, Scalar],
        chunking: Mapping[str, Any],
    ) -> None:
        """Make a batch, and jobs of its files as `attach` does."""
        with self._catalog.write() as connection:
            connection.execute(
                "INSERT INTO batches (id, store_id, created_at, cancelled) VALUES (?, ?, ?, 0)",
                (batch_id, store_id, int(time.time())),
            )
            for file_id in file_ids:
                connection.execute("INSERT INTO batch_files VALUES (?, ?)", (batch_id, file_id))
                self._attach(connection, store_id, file_id, attributes, chunking)

    def get(self, store_id: str, file_id: str) -> Attachment | None:
        with self._catalog.read() as connection:
            row = connection.execute(
                f"SELECT {_COLUMNS} FROM attachments WHERE store_id = ? AND file_id = ?", (store_id, file_id)
            ).fetchone()
        return None if row is None else attachment(row)

    def page(
        self, store_id: str, window: Window, status: str | None = None, *, batch_id: str | None = None
    ) -> tuple[list[Attachment], bool]:
        """Some files of a store or of a batch, and whether there are more. Raises ValueError."""
        if status is not None and status not in STATUSES:
            raise ValueError(
                f"The filter of a list of files is one of {', '.join(STATUSES)}, not {status!r}."
            )
        scope, parameters = "store_id = ?", [store_id]
        if batch_id is not None:
            scope, parameters = f"{scope} AND file_id IN ({_OF_BATCH})", [store_id, batch_id]
        listing = Listing(_COLUMNS, "attachments", "file_id", scope, tuple(parameters))
        with self._catalog.read() as connection:
            rows, more = (
                listing.rows(connection, window)
                if status is None
                else listing.rows(connection, window, "status = ?", status)
            )
        return [attachment(row) for row in rows], more

    def counts(self, store_id: str) -> dict[str, int]:
        """How many files of a store have which status."""
        with self._catalog.read() as connection:
            return dict(
                connection.execute(
                    "SELECT status, count(*) FROM attachments WHERE store_id = ? GROUP BY status", (store_id,)
                ).fetchall()
            )

    def claim(self) -> Attachment | None:
        """The oldest job that nobody works on, which is ours then; one that ended a process comes last."""
        now = time.time()
        with self._catalog.read() as connection:
            if (
                connection.execute(f"SELECT 1 FROM attachments WHERE {_FREE} LIMIT 1", (now,)).fetchone()
                is None
            ):
                return None
        with self._catalog.write() as connection:
            row = connection.execute(
                f"UPDATE attachments SET owner = ?, lease_until = ?, claims = claims + 1, done = 0 WHERE sequence = "
                f"(SELECT sequence FROM attachments WHERE {_FREE} ORDER BY claims, sequence LIMIT 1) RETURNING {_COLUMNS}",
                (self._owner, now + self._lease_seconds, now),
            ).fetchone()
        return None if row is None else attachment(row)

    def renew(self, job: Attachment) -> bool:
        """Hold the job for another lease; False if it is ours no more."""
        return self._set(job, lease_until=time.time() + self._lease_seconds)

    def is_ours(self, job: Attachment) -> bool:
        with self._catalog.read() as connection:
            return (
                connection.execute(
                    f"SELECT 1 FROM attachments WHERE {_OURS}", (job.store_id, job.file_id, self._owner)
                ).fetchone()
                is not None
            )

    def progress(self, job: Attachment, *, filename: str, done: int, total: int) -> None:
        self._set(job, filename=filename, done=done, total=total)

    def complete(self, job: Attachment, *, origin: Mapping[str, Scalar], usage_bytes: int) -> bool:
        """False if the job is ours no more."""
        return self._set(
            job,
            status=COMPLETED,
            origin=json.dumps(dict(origin)),
            usage_bytes=usage_bytes,
            owner=None,
            lease_until=None,
        )

    def fail(self, job: Attachment, code: str, message: str) -> None:
        self._set(job, status=FAILED, error_code=code, error_message=message, owner=None, lease_until=None)

    def give_back(self) -> None:
        """All our jobs are free for others; they count as not begun."""
        with self._catalog.write() as connection:
            connection.execute(
                "UPDATE attachments SET owner = NULL, lease_until = NULL, claims = claims - 1 "
                "WHERE owner = ? AND status = 'in_progress'",
                (self._owner,),
            )

    def set_attributes(self, store_id: str, file_id: str, attributes: Mapping[str, Scalar]) -> None:
        with self._catalog.write() as connection:
            connection.execute(
                "UPDATE attachments SET attributes = ? WHERE store_id = ? AND file_id = ?",
                (json.dumps(dict(attributes)), store_id, file_id),
            )

    def remove(self, store_id: str, file_id: str) -> None:
        with self._catalog.write() as connection:
            connection.execute(
                "DELETE FROM attachments WHERE store_id = ? AND file_id = ?", (store_id, file_id)
            )

    def _set(self, job: Attachment, **columns: Any) -> bool:
        """Write columns of a job of ours; False if it is ours no more."""
        assignments = ", ".join(f"{column} = ?" for column in columns)
        with self._catalog.write() as connection:
            return bool(
                connection.execute(
                    f"UPDATE attachments SET {assignments} WHERE {_OURS}",
                    (*columns.values(), job.store_id, job.file_id, self._owner),
                ).rowcount
            )

    def _attach(
        self,
        connection: sqlite3.Connection,
        store_id: str,
        file_id: str,
        attributes: Mapping[str, Scalar],
        chunking: Mapping[str, Any],
    ) -> None:
        again = ", ".join(f"{column} = excluded.{column}" for column in _COLUMNS.split(", ")[3:])
        connection.execute(
            f"INSERT INTO attachments ({_COLUMNS}) VALUES (?, ?, '', 'in_progress', ?, ?, '{{}}', ?, 0, 0, 0, "
            f"NULL, NULL, 0) ON CONFLICT (store_id, file_id) DO UPDATE SET {again} "
            "WHERE status IN ('failed', 'cancelled')",
            (store_id, file_id, json.dumps(dict(attributes)), json.dumps(dict(chunking)), int(time.time())),
        )


_FREE = "status = 'in_progress' AND (lease_until IS NULL OR lease_until <= ?)"
_OURS = "store_id = ? AND file_id = ? AND owner = ? AND status = 'in_progress'"


def insert_attachment(connection: sqlite3.Connection, known: Attachment) -> None:
    """Add a file whose state is known already."""
    values = [json.dumps(value) if isinstance(value, dict) else value for value in _values(known)]
    marks = ", ".join("?" * len(values))
    connection.execute(f"INSERT OR REPLACE INTO attachments ({_COLUMNS}) VALUES ({marks})", values)


def attachment(row: tuple[Any, ...]) -> Attachment:
    values = list(row)
    for place in (4, 5, 6):
        values[place] = json.loads(row[place])
    return Attachment(*values)


def _values(known: Attachment) -> list[Any]:
    return [getattr(known, column) for column in _COLUMNS.split(", ")]
