"""What a database of the stack's own `inline::faiss` says of its stores and their files, beside the chunks."""

import sqlite3
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from llama_stack_api import VectorStoreChunkingStrategy
from pydantic import TypeAdapter, ValidationError

from lightspeed.stack.providers.faiss_sqlite.attachments import (
    COMPLETED,
    ERROR_CODES,
    FAILED,
    IN_PROGRESS,
    STATUSES,
    Attachment,
)
from lightspeed.stack.providers.faiss_sqlite.metadata import sanitized, storable_integer, storable_name
from lightspeed.stack.providers.faiss_sqlite.stock_store import opened, parsed

MOST_DAYS = 365
"""The longest expiry of a store."""

OWN_KEYS = ("provider_id", "provider_vector_store_id", "embedding_model", "embedding_dimension")

_STORE_KEY = "openai_vector_stores:v3::"
_FILE_KEY = "openai_vector_stores_files:v3::"
_AUTO = {"type": "auto"}
_STRATEGIES: TypeAdapter[Any] = TypeAdapter(VectorStoreChunkingStrategy)


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
    days = storable_integer(_mapping(described.get("expires_after")).get("days"))
    metadata = _mapping(described.get("metadata"))
    return StockRecord(
        name=storable_name(described.get("name")),
        created_at=storable_integer(described.get("created_at")),
        expires_after_days=days if days is not None and 1 <= days <= MOST_DAYS else None,
        chunking=_strategy(described.get("chunking_strategy")),
        metadata={key: value for key, value in metadata.items() if key not in OWN_KEYS},
        files=tuple(sorted((file for file in files if file is not None), key=lambda file: file.created_at)),
    )


def _objects(connection: sqlite3.Connection, key: str, *, exact: bool = False) -> Iterator[dict[str, Any]]:
    rows = connection.execute(
        "SELECT value FROM kvstore WHERE key >= ? AND key <= ? ORDER BY key",
        (key, key if exact else f"{key}\uffff"),
    )
    return (parsed(value) for (value,) in rows)


def _file(store: str, found: dict[str, Any]) -> Attachment | None:
    file_id = storable_name(found.get("id"))
    if file_id is None:
        return None
    status = found.get("status")
    error = _mapping(found.get("last_error"))
    code = error.get("code")
    if status == IN_PROGRESS or status not in STATUSES:
        # Nobody will end what another program has begun.
        status, error = FAILED, {"message": "The file had not been read to its end."}
    return Attachment(
        store_id=store,
        file_id=file_id,
        filename=storable_name(found.get("filename")) or "",
        status=status,
        attributes=sanitized(_mapping(found.get("attributes"))),
        chunking=_strategy(found.get("chunking_strategy")) or dict(_AUTO),
        origin={},
        created_at=storable_integer(found.get("created_at")) or int(time.time()),
        usage_bytes=storable_integer(found.get("usage_bytes")) or 0,
        done=0,
        total=0,
        error_code=(code if code in ERROR_CODES else "server_error") if status != COMPLETED else None,
        error_message=(storable_name(error.get("message")) or "") if status != COMPLETED else None,
        claims=0,
    )


def _strategy(value: Any) -> dict[str, Any] | None:
    """A chunking strategy, if the stack knows such a one."""
    try:
        strategy: dict[str, Any] = _STRATEGIES.validate_python(value).model_dump()
    except ValidationError:
        return None
    return strategy


def _mapping(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}
