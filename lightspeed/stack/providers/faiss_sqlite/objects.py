"""What the catalog and the stores hold, as the objects that the stack answers with."""

from collections.abc import Mapping, Sequence
from typing import Any, Literal

from llama_stack_api import (
    ChunkMetadata,
    EmbeddedChunk,
    VectorStoreContent,
    VectorStoreFileBatchObject,
    VectorStoreFileCounts,
    VectorStoreFileLastError,
    VectorStoreFileObject,
    VectorStoreFilesListInBatchResponse,
    VectorStoreListFilesResponse,
    VectorStoreObject,
    VectorStoreSearchResponse,
)
from pydantic import BaseModel

from lightspeed.stack.providers.faiss_sqlite.attachments import IN_PROGRESS, STATUSES, Attachment
from lightspeed.stack.providers.faiss_sqlite.batches import Batch
from lightspeed.stack.providers.faiss_sqlite.chunks import Chunk, NewChunk, Scalar, ScoredChunk
from lightspeed.stack.providers.faiss_sqlite.querying import text_of
from lightspeed.stack.providers.faiss_sqlite.store_records import StoreRecord


class FileError(VectorStoreFileLastError):  # type: ignore[misc]
    """With all codes that OpenAI's interface has."""

    code: Literal["server_error", "rate_limit_exceeded", "unsupported_file", "invalid_file"]


class FileProgress(BaseModel):
    """`done` of `total` chunks are embedded."""

    done: int
    total: int


class FileObject(VectorStoreFileObject):  # type: ignore[misc]
    """A file in a store; `last_error` may say that the file is at fault.

    `progress` tells how far its reading has come, once it has been parsed.
    """

    last_error: FileError | None = None
    progress: FileProgress | None = None


class FileList(VectorStoreListFilesResponse):  # type: ignore[misc]
    """Files of a store."""

    data: list[FileObject]


class BatchFileList(VectorStoreFilesListInBatchResponse):  # type: ignore[misc]
    """Files of a batch."""

    data: list[FileObject]


def page_of[List: BaseModel](kind: type[List], data: Sequence[Any], more: bool) -> List:
    """A part of a list; the ids at its ends are where the next parts begin."""
    first, last = (data[0].id, data[-1].id) if data else (None, None)
    return kind(data=data, has_more=more, first_id=first, last_id=last)


def store_object(record: StoreRecord, counts: Mapping[str, int], usage_bytes: int) -> VectorStoreObject:
    """The status is `expired`, or `in_progress` while files are read, else `completed`."""
    days = record.expires_after_days
    status = "in_progress" if counts.get(IN_PROGRESS) else "completed"
    return VectorStoreObject(
        id=record.id,
        created_at=record.created_at,
        name=record.name,
        usage_bytes=usage_bytes,
        file_counts=file_counts(counts),
        status="expired" if record.is_expired else status,
        expires_after=None if days is None else {"anchor": "last_active_at", "days": days},
        expires_at=record.expires_at,
        last_active_at=record.last_active_at,
        metadata={
            **record.metadata,
            "provider_id": record.provider_id,
            "provider_vector_store_id": record.id,
            "embedding_model": record.embedding_model,
            "embedding_dimension": str(record.dimension),
        },
    )


def file_object(found: Attachment) -> FileObject:
    error = None
    if found.error_code is not None:
        error = FileError(code=found.error_code, message=found.error_message or "")
    return FileObject(
        id=found.file_id,
        attributes=found.attributes,
        chunking_strategy=found.chunking,
        created_at=found.created_at,
        last_error=error,
        progress=FileProgress(done=found.done, total=found.total) if found.total else None,
        status=found.status,
        usage_bytes=found.usage_bytes,
        vector_store_id=found.store_id,
    )


def batch_object(batch: Batch) -> VectorStoreFileBatchObject:
    return VectorStoreFileBatchObject(
        id=batch.id,
        created_at=batch.created_at,
        vector_store_id=batch.store_id,
        status=batch.status,
        file_counts=file_counts(batch.counts),
    )


def file_counts(counts: Mapping[str, int]) -> VectorStoreFileCounts:
    return VectorStoreFileCounts(
        **{status: counts.get(status, 0) for status in STATUSES}, total=sum(counts.values())
    )


def new_chunk(chunk: EmbeddedChunk) -> NewChunk:
    """A chunk of the stack, to be stored. Raises ValueError for one that is not text."""
    own, more = chunk.metadata, chunk.chunk_metadata
    document, file = own.get("document_id"), own.get("file_id")
    return NewChunk(
        id=chunk.chunk_id,
        content=text_of(chunk.content),
        document_id=str(document) if document else (more.document_id if more is not None else None) or None,
        file_id=str(file) if file else None,
        metadata=own,
        token_count=more.content_token_count if more is not None else None,
    )


def stored_again(chunk: Chunk, metadata: Mapping[str, Scalar]) -> NewChunk:
    """A stored chunk with other metadata."""
    return NewChunk(chunk.id, chunk.content, chunk.document_id, chunk.file_id, metadata, chunk.token_count)


def embedded_chunk(chunk: Chunk, vector: Sequence[float], embedding_model: str) -> EmbeddedChunk:
    # Built without validation: checking 384 floats one by one costs more than they do.
    return EmbeddedChunk.model_construct(
        content=chunk.content,
        chunk_id=chunk.id,
        metadata=metadata_of(chunk),
        chunk_metadata=chunk_metadata_of(chunk),
        embedding=list(vector),
        embedding_model=embedding_model,
        embedding_dimension=len(vector),
    )


def search_result(found: ScoredChunk) -> VectorStoreSearchResponse:
    chunk = found.chunk
    metadata = metadata_of(chunk)
    named = (metadata.get(key) for key in ("filename", "source_path", "docs_url", "title"))
    return VectorStoreSearchResponse(
        file_id=chunk.file_id or chunk.document_id or chunk.id,
        filename=next((str(name) for name in named if name), ""),
        score=found.score,
        attributes=metadata,
        content=[VectorStoreContent(type="text", text=chunk.content)],
    )


def content_item(chunk: Chunk, vector: Sequence[float] | None, *, with_metadata: bool) -> VectorStoreContent:
    return VectorStoreContent(
        type="text",
        text=chunk.content,
        embedding=None if vector is None else list(vector),
        chunk_metadata=chunk_metadata_of(chunk) if with_metadata else None,
        metadata=metadata_of(chunk) if with_metadata else None,
    )


def metadata_of(chunk: Chunk) -> dict[str, Scalar]:
    """The chunk's metadata, with its document and file."""
    metadata = dict(chunk.metadata)
    for key, value in (("document_id", chunk.document_id), ("file_id", chunk.file_id)):
        if value is not None:
            metadata.setdefault(key, value)
    return metadata


def chunk_metadata_of(chunk: Chunk) -> ChunkMetadata:
    sources: list[Any] = [chunk.metadata.get(key) for key in ("source", "docs_url", "filename")]
    return ChunkMetadata(
        chunk_id=chunk.id,
        document_id=chunk.document_id,
        source=next((str(source) for source in sources if source), None),
        content_token_count=chunk.token_count,
    )
