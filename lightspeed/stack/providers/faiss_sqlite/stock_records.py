"""What a database of the stack's own `inline::faiss` says of its stores and their files, beside the chunks."""

import sqlite3
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pydantic_core import from_json

from lightspeed.stack.providers.faiss_sqlite.attachments import (
    COMPLETED,
    FAILED,
    IN_PROGRESS,
    STATUSES,
    Attachment,
)
from lightspeed.stack.providers.faiss_sqlite.metadata import sanitized
from lightspeed.stack.providers.faiss_sqlite.stock_chunks import named
from lightspeed.stack.providers.faiss_sqlite.stock_store import opened

OWN_KEYS = ("provider_id", "provider_vector_store_id", "embedding_model", "embedding_dimension")

_STORE_KEY = "openai_vector_stores:v3::"
_FILE_KEY = "openai_vector_stores_files:v3::"
_AUTO = {"type": "auto"}


@dataclass(frozen=True, slots=True)
class StockRecord:
    """A store and its files, oldest first. What the database does not say is null."""

    name: str | None = None
    created_at: int | None = None
    expires_after_days: int | None = None
    chunking: dict[str, Any] | None = None
    metadata: dict[str, Any] = field(default_factory=dict)
    files: tuple[Attachment, ...] = ()


def stock_record(path: Path, store: str) -> StockRecord:
    """Raises StorageError."""
    with opened(path) as connection:
        described = next(_objects(connection, _STORE_KEY + store, exact=True), {})
        files = [_file(store, found) for found in _objects(connection, f"{_FILE_KEY}{store}:")]
    expiry = _mapping(described.get("expires_after")).get("days")
    metadata = _mapping(described.get("metadata"))
    return StockRecord(
        name=named(described.get("name")),
        created_at=_integer(described.get("created_at")),
        expires_after_days=_integer(expiry),
        chunking=_mapping(described.get("chunking_strategy")) or None,
        metadata={key: value for key, value in metadata.items() if key not in OWN_KEYS},
        files=tuple(sorted((file for file in files if file is not None), key=lambda file: file.created_at)),
    )


def _objects(connection: sqlite3.Connection, key: str, *, exact: bool = False) -> Iterator[dict[str, Any]]:
    rows = connection.execute(
        "SELECT value FROM kvstore WHERE key >= ? AND key <= ? ORDER BY key",
        (key, key if exact else f"{key}\uffff"),
    )
    for (value,) in rows:
        try:
            found = from_json(value)
        except ValueError:
            continue
        if isinstance(found, dict):
            yield found


def _file(store: str, found: dict[str, Any]) -> Attachment | None:
    file_id = named(found.get("id"))
    if file_id is None:
        return None
    status = found.get("status")
    error = _mapping(found.get("last_error"))
    if status == IN_PROGRESS or status not in STATUSES:
        # Nobody will end what another program has begun.
        status, error = FAILED, {"code": "server_error", "message": "The file had not been read to its end."}
    return Attachment(
        store_id=store,
        file_id=file_id,
        filename=named(found.get("filename")) or "",
        status=status,
        attributes=sanitized(_mapping(found.get("attributes"))),
        chunking=_mapping(found.get("chunking_strategy")) or dict(_AUTO),
        origin={},
        created_at=_integer(found.get("created_at")) or int(time.time()),
        usage_bytes=_integer(found.get("usage_bytes")) or 0,
        done=0,
        total=0,
        error_code=(named(error.get("code")) or "server_error") if status != COMPLETED else None,
        error_message=(named(error.get("message")) or "") if status != COMPLETED else None,
        claims=0,
    )


def _mapping(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _integer(value: Any) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) else None
