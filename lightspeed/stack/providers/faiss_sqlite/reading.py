"""An attached file to the chunks that are stored."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from anyio import to_thread
from llama_stack_api import RetrieveFileContentRequest, RetrieveFileRequest

from lightspeed.documents.chunking import Chunker, estimate_tokens, heading_label, token_budget
from lightspeed.documents.document import Document, DocumentError
from lightspeed.documents.parsing import DocumentParser
from lightspeed.documents.windows import WindowChunker
from lightspeed.stack.embedding import TokenCounter, token_counter
from lightspeed.stack.providers.faiss_sqlite.attachments import Attachment
from lightspeed.stack.providers.faiss_sqlite.chunks import NewChunk, Scalar
from lightspeed.stack.providers.faiss_sqlite.context import ContextWriter
from lightspeed.stack.providers.faiss_sqlite.requested import is_automatic

_AUTOMATIC_OVERLAP = 32

# What a client's attributes of the same name do not replace.
_OWN_KEYS = ("file_id", "filename", "document_id", "heading", "chunk_index")


class NoFiles(Exception):
    """The stack keeps no files."""


@dataclass(frozen=True, slots=True)
class Piece:
    """The text of one chunk, where it stands, and how many tokens it has."""

    text: str
    heading: str
    token_count: int


@dataclass(frozen=True, slots=True)
class FileText:
    """What was read of a file. `origin` is the metadata that all its chunks share."""

    filename: str
    origin: dict[str, Scalar]
    pieces: tuple[Piece, ...]

    def chunks(self, file_id: str, attributes: Mapping[str, Scalar]) -> list[NewChunk]:
        """The ids depend on the file, so that equal files share no chunk."""
        return [self._chunk(file_id, attributes, index, piece) for index, piece in enumerate(self.pieces)]

    def _chunk(self, file_id: str, attributes: Mapping[str, Scalar], index: int, piece: Piece) -> NewChunk:
        salted = f"{file_id}:{index}:{piece.text}".encode(errors="replace")
        own: dict[str, Scalar] = {
            "file_id": file_id,
            "filename": self.filename,
            "document_id": file_id,
            "chunk_index": index,
        }
        if piece.heading:
            own["heading"] = piece.heading
        return NewChunk(
            id=hashlib.sha256(salted).hexdigest()[:32],
            content=piece.text,
            document_id=file_id,
            file_id=file_id,
            metadata={**self.origin, **attributes, **own},
            token_count=piece.token_count,
        )


class FileReader:
    """Reads files of the stack's files API."""

    def __init__(self, files: Any, inference: Any, contexts: ContextWriter, *, max_bytes: int) -> None:
        self._files = files
        self._inference = inference
        self._contexts = contexts
        self._max_bytes = max_bytes

    async def read(self, job: Attachment, embedding_model: str) -> FileText:
        """Raises NoFiles, DocumentError, and what the files API or a model raises."""
        if self._files is None:
            raise NoFiles("The stack keeps no files: run.yaml has no provider for `files`.")
        described = await self._files.openai_retrieve_file(RetrieveFileRequest(file_id=job.file_id))
        if described.bytes > self._max_bytes:
            raise DocumentError(
                described.filename, f"{described.bytes} bytes, more than the limit of {self._max_bytes}"
            )
        content = await self._files.openai_retrieve_file_content(
            RetrieveFileContentRequest(file_id=job.file_id)
        )
        counter = await token_counter(self._inference, embedding_model)
        async with DocumentParser() as parser:
            document = await parser.parse(
                bytes(content.body), name=described.filename, max_bytes=self._max_bytes
            )
        pieces = await to_thread.run_sync(_pieces, document, job.chunking, counter, abandon_on_cancel=True)
        if job.chunking["type"] == "contextual":
            pieces = await self._situated(document, pieces, job.chunking["contextual"])
        origin: dict[str, Scalar] = {"title": document.title}
        if document.url:
            origin["docs_url"] = document.url
        return FileText(described.filename, origin, tuple(pieces))

    async def _situated(
        self, document: Document, pieces: Sequence[Piece], strategy: Mapping[str, Any]
    ) -> list[Piece]:
        whole = "\n\n".join(
            "\n".join((*section.heading_trail[-1:], section.text)) for section in document.sections
        )
        contexts = await self._contexts.contexts(whole, [piece.text for piece in pieces], strategy)
        return [
            Piece(f"{context}\n\n{piece.text}" if context else piece.text, piece.heading, piece.token_count)
            for context, piece in zip(contexts, pieces, strict=True)
        ]


def _pieces(document: Document, strategy: Mapping[str, Any], counter: TokenCounter | None) -> list[Piece]:
    chunks = _chunker(strategy, counter).chunks(document)
    return [Piece(chunk.text, heading_label(chunk.heading_trail), chunk.token_count) for chunk in chunks]


def with_attributes(
    metadata: Mapping[str, Scalar],
    origin: Mapping[str, Scalar],
    old: Mapping[str, Scalar],
    new: Mapping[str, Scalar],
) -> dict[str, Scalar]:
    """The metadata of a stored chunk when the attributes of its file change."""
    kept = {key: value for key, value in metadata.items() if key not in old}
    own = {key: metadata[key] for key in _OWN_KEYS if key in metadata}
    return {**origin, **kept, **new, **own}


def _chunker(strategy: Mapping[str, Any], counter: TokenCounter | None) -> Chunker | WindowChunker:
    count = counter[0] if counter is not None else estimate_tokens
    if is_automatic(strategy):
        budget = token_budget(counter[1] if counter is not None else None)
        return Chunker(token_budget=budget, overlap=min(_AUTOMATIC_OVERLAP, budget // 4), count_tokens=count)
    sizes = strategy[strategy["type"]]
    most = sizes["max_chunk_size_tokens"]
    # OpenAI allows half; the stack allows more, and gets half.
    overlap = min(sizes["chunk_overlap_tokens"], most // 2)
    return WindowChunker(max_tokens=most, overlap=overlap, count_tokens=count)
