"""Vector stores and files as the rest of the service sees them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True)
class VectorStore:
    """Times are in seconds since 1970; `status` is `completed`, `in_progress` or `expired`."""

    id: str
    name: str
    created_at: int
    last_active_at: int | None
    expires_at: int | None
    status: str
    usage_bytes: int
    metadata: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class NewVectorStore:
    """What a store shall be; None leaves the choice to the stack's configuration."""

    name: str
    embedding_model: str | None = None
    embedding_dimension: int | None = None
    provider_id: str | None = None
    chunking_strategy: Mapping[str, Any] | None = None
    metadata: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class FileProgress:
    """`done` of the `total` passages of a file are embedded."""

    done: int
    total: int


@dataclass(frozen=True, slots=True)
class AttachedFile:
    """A file in a store; `status` is `completed`, `in_progress`, `cancelled` or `failed`.

    `progress` is None until the file has been cut into passages, and for providers that do not tell.
    """

    id: str
    vector_store_id: str
    status: str
    attributes: Mapping[str, str | float | bool]
    last_error: str | None
    progress: FileProgress | None = None


@dataclass(frozen=True, slots=True)
class AttachedFiles:
    """A page of the files in a store."""

    files: Sequence[AttachedFile]
    has_more: bool


@dataclass(frozen=True, slots=True)
class SearchHit:
    """Passages that fit a query, with the file that they come from."""

    file_id: str
    filename: str
    score: float
    attributes: Mapping[str, str | float | bool]
    texts: Sequence[str]


@dataclass(frozen=True, slots=True)
class StoredFile:
    """An uploaded file of `bytes` bytes; `created_at` in seconds since 1970."""

    id: str
    filename: str
    bytes: int
    created_at: int
