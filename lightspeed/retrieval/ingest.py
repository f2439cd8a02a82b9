"""Filling a knowledge store from files."""

import time
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from anyio import to_thread

from lightspeed.documents.chunking import Chunker, chunk_metadata
from lightspeed.documents.document import Document, EmptyDocument, UnsupportedFormat, read_document
from lightspeed.documents.finding import DocumentError, SourceFile
from lightspeed.stack.passages import EmbeddingModel, NewPassage

_PASSAGES_AT_ONCE = 256
_CHUNK_TOKENS = 220
_SPARE_TOKENS = 4  # what a tokenizer puts around a text, and a margin


class Store(Protocol):
    """The knowledge stores of the stack."""

    async def create(self, store: str, model: EmbeddingModel) -> None: ...
    async def insert(
        self, store: str, passages: Sequence[NewPassage], replacing: Collection[str] = ()
    ) -> None: ...
    async def documents(self, store: str) -> dict[str, str]: ...


@dataclass
class IngestReport:
    """What became of the files. Skipped are those without text, or of a kind that is not read."""

    added: int = 0
    replaced: int = 0
    unchanged: int = 0
    skipped: list[DocumentError] = field(default_factory=list)
    passages: int = 0
    seconds: float = 0.0
    failures: list[DocumentError] = field(default_factory=list)


def chunker_for(counter: tuple[Callable[[str], int], int] | None) -> Chunker:
    """Chunks that the embedding model reads whole: `counter` counts its tokens and tells its limit."""
    if counter is None:
        return Chunker(token_budget=_CHUNK_TOKENS)
    count, limit = counter
    return Chunker(token_budget=min(_CHUNK_TOKENS, limit - _SPARE_TOKENS), count_tokens=count)


class Ingester:
    """Reads, chunks and stores files; a file that has not changed since is skipped."""

    def __init__(
        self, stores: Store, embedding_model: EmbeddingModel, chunker: Chunker | None = None
    ) -> None:
        self._stores = stores
        self._embedding_model = embedding_model
        self._chunker = chunker or Chunker()

    async def ingest(
        self,
        files: Sequence[SourceFile],
        store: str,
        report: IngestReport,
        advance: Callable[[], None] = lambda: None,
    ) -> None:
        """Store all files; those that cannot be read are in the report. `advance` is called after each."""
        started = time.perf_counter()
        await self._stores.create(store, self._embedding_model)
        stored = await self._stores.documents(store)
        waiting: list[NewPassage] = []
        outdated: set[str] = set()
        for file in files:
            try:
                document = await to_thread.run_sync(read_document, file)
            except (UnsupportedFormat, EmptyDocument) as error:
                report.skipped.append(error)
                advance()
                continue
            except DocumentError as error:
                report.failures.append(error)
                advance()
                continue
            if stored.get(document.id) == document.content_hash:
                report.unchanged += 1
            else:
                waiting += await to_thread.run_sync(self._passages, document)
                if document.id in stored:
                    outdated.add(document.id)
                    report.replaced += 1
                else:
                    report.added += 1
            if len(waiting) >= _PASSAGES_AT_ONCE:
                await self._store(store, waiting, outdated, report)
            advance()
        await self._store(store, waiting, outdated, report)
        report.seconds = time.perf_counter() - started

    def _passages(self, document: Document) -> list[NewPassage]:
        return [
            NewPassage(
                f"{document.id}-{document.content_hash[:12]}-{chunk.position}",
                chunk.text,
                chunk_metadata(document, chunk),
                chunk.token_count,
            )
            for chunk in self._chunker.chunks(document)
        ]

    async def _store(
        self, store: str, waiting: list[NewPassage], outdated: set[str], report: IngestReport
    ) -> None:
        if waiting:
            await self._stores.insert(store, waiting, replacing=frozenset(outdated))
        report.passages += len(waiting)
        waiting.clear()
        outdated.clear()
