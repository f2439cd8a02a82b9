"""Filling a knowledge store from files and web pages."""

import time
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Protocol

import anyio
from anyio import to_thread
from anyio.streams.memory import MemoryObjectSendStream

from lightspeed.documents.chunking import Chunker, chunk_metadata, token_budget
from lightspeed.documents.document import (
    Document,
    EmptyDocument,
    UnsupportedFormat,
    content_hash,
    document_id,
    read_bytes,
)
from lightspeed.documents.finding import DocumentError, SourceFile
from lightspeed.documents.parsing import DocumentParser
from lightspeed.documents.web import PageReader
from lightspeed.stack.passages import EmbeddingModel, NewPassage

_PASSAGES_AT_ONCE = 128
_ROOT_KEY = "source_root"

# A file, or the address of a web page as `PageReader.check` gives it.
type Source = SourceFile | str


class Store(Protocol):
    """The knowledge stores of the stack."""

    async def create(self, store: str, model: EmbeddingModel) -> None: ...
    async def insert(
        self,
        store: str,
        passages: Sequence[NewPassage],
        replacing: Collection[str] = (),
        embedded: Callable[[int], None] = lambda count: None,
    ) -> None:
        """All or nothing: what is replaced goes with the same change that brings the new passages.

        `embedded` is told how many more passages have their vectors.
        """

    async def documents(self, store: str) -> Mapping[str, str]:
        """The content hash of each document by its id."""

    async def documents_under(self, store: str, key: str, value: str) -> Collection[str]:
        """The ids of the documents whose passages have `value` under `key` in their metadata."""

    async def delete_documents(self, store: str, documents: Collection[str]) -> int:
        """Returns how many passages went."""


@dataclass
class IngestReport:
    """What became of the files and pages, as far as it is done.

    `skipped` are without text or of a kind that is not read. Of the `kept` paths among skipped and failures
    the store still has an earlier version. `notes` tell what was left undone. `embedded` passages have their
    vectors, and `underway` is what these are of sources that are not stored yet.
    """

    added: int = 0
    replaced: int = 0
    unchanged: int = 0
    removed: int = 0
    skipped: list[DocumentError] = field(default_factory=list)
    failures: list[DocumentError] = field(default_factory=list)
    kept: set[str] = field(default_factory=set)
    notes: list[str] = field(default_factory=list)
    sources: int = 0
    passages: int = 0
    embedded: int = 0
    underway: float = 0.0
    seconds: float = 0.0

    @property
    def documents(self) -> int:
        """How many of the sources the store has now."""
        return self.added + self.replaced + self.unchanged + len(self.kept)


@dataclass
class _Batch:
    """Whole documents, to be stored together."""

    passages: list[NewPassage] = field(default_factory=list)
    documents: set[str] = field(default_factory=set)


def chunker_for(counter: tuple[Callable[[str], int], int] | None) -> Chunker:
    """Chunks that the embedding model reads whole: `counter` counts its tokens and tells its limit."""
    if counter is None:
        return Chunker()
    count, limit = counter
    return Chunker(token_budget=token_budget(limit), count_tokens=count)


class Ingester:
    """Reads, chunks and stores documents; one that has not changed since is skipped.

    Documents are stored a batch at a time and each whole, so that a run that was ended early is continued by
    the next. The next batch is read while one is stored.
    """

    def __init__(
        self,
        stores: Store,
        embedding_model: EmbeddingModel,
        chunker: Chunker | None = None,
        pages: PageReader | None = None,
        parser: DocumentParser | None = None,
    ) -> None:
        self._stores = stores
        self._embedding_model = embedding_model
        self._chunker = chunker or Chunker()
        self._pages = pages or PageReader(())
        self._parser = parser or DocumentParser()

    async def ingest(
        self,
        sources: Sequence[Source],
        store: str,
        report: IngestReport,
        advance: Callable[[], None] = lambda: None,
        *,
        synced_roots: Collection[str] = (),
    ) -> None:
        """Store all sources; those that cannot be read are in the report.

        `advance` is called when the report has changed. Documents that came from one of `synced_roots`
        before, and are not among the sources, are removed in the end; not if a root has no file at all.
        """
        started = time.perf_counter()
        await self._stores.create(store, self._embedding_model)
        run = _Run(store, await self._stores.documents(store), report, advance)
        for root in synced_roots:
            run.earlier[root] = frozenset(await self._stores.documents_under(store, _ROOT_KEY, root))
        try:
            async with self._parser:
                await self._read_and_store(sources, run)
        except BaseExceptionGroup as group:
            cause = _only(group)
            raise cause from cause.__cause__
        finally:
            report.seconds = time.perf_counter() - started
        await self._remove_vanished(sources, run)
        report.seconds = time.perf_counter() - started

    async def _read_and_store(self, sources: Sequence[Source], run: "_Run") -> None:
        send, receive = anyio.create_memory_object_stream[_Batch](1)
        async with anyio.create_task_group() as group:
            group.start_soon(self._read, sources, run, send)
            async with receive:
                async for batch in receive:
                    # Also those that the store did not have at the beginning: another ingest may have brought them.
                    await self._stores.insert(
                        run.store, batch.passages, batch.documents, partial(run.embedded, batch)
                    )
                    run.stored_batch(batch)

    async def _read(
        self, sources: Sequence[Source], run: "_Run", send: MemoryObjectSendStream[_Batch]
    ) -> None:
        async with send:
            batch = _Batch()
            for source in sources:
                document = await self._document(source, run)
                if document is None:
                    continue
                root = source.root if isinstance(source, SourceFile) else ""
                passages = await to_thread.run_sync(self._passages, document, root)
                if not passages:
                    run.skip(EmptyDocument(document.path, "no text"), document.id)
                    continue
                batch.passages += passages
                batch.documents.add(document.id)
                if len(batch.passages) >= _PASSAGES_AT_ONCE:
                    await send.send(batch)
                    batch = _Batch()
            if batch.passages:
                await send.send(batch)

    async def _document(self, source: Source, run: "_Run") -> Document | None:
        """A document that has to be stored; all others are noted in the report."""
        try:
            if isinstance(source, SourceFile):
                document = await self._changed_file(source, run)
            else:
                document = await self._pages.read(source, self._parser)
                if not run.is_new(document.id, document.content_hash):
                    document = None
        except (UnsupportedFormat, EmptyDocument) as error:
            run.skip(error, _id_of(source))
        except DocumentError as error:
            run.fail(error, _id_of(source))
        else:
            if document is not None:
                return document
            run.pass_over()
        return None

    async def _changed_file(self, source: SourceFile, run: "_Run") -> Document | None:
        """A file as a document, or None if the store has it: it is not even parsed then. Raises DocumentError."""
        data, digest = await to_thread.run_sync(_bytes_and_hash, source)
        if not run.is_new(_id_of(source), digest, source.root):
            return None
        return await self._parser.parse(data, name=source.name, path=str(source.path))

    def _passages(self, document: Document, root: str) -> list[NewPassage]:
        origin = {_ROOT_KEY: root} if root else {}
        return [
            NewPassage(
                f"{document.id}-{document.content_hash[:12]}-{chunk.position}",
                chunk.text,
                chunk_metadata(document, chunk) | origin,
                chunk.token_count,
            )
            for chunk in self._chunker.chunks(document)
        ]

    async def _remove_vanished(self, sources: Sequence[Source], run: "_Run") -> None:
        present = {_id_of(source) for source in sources}
        populated = {source.root for source in sources if isinstance(source, SourceFile)}
        for root, earlier in run.earlier.items():
            vanished = earlier - present
            if vanished and root not in populated:
                # Perhaps it is not mounted.
                run.report.notes.append(
                    f"a given folder has no files now, so its {len(vanished)} documents are kept"
                )
            elif vanished:
                await self._stores.delete_documents(run.store, vanished)
                run.report.removed += len(vanished)


class _Run:
    """What one ingest knows and notes."""

    def __init__(
        self, store: str, stored: Mapping[str, str], report: IngestReport, advance: Callable[[], None]
    ) -> None:
        self.store = store
        self.stored = stored
        self.earlier: dict[str, frozenset[str]] = {}
        self.report = report
        self._advance = advance

    def is_new(self, document: str, content_hash: str, root: str = "") -> bool:
        """Whether it has changed; when roots are synchronised also whether another root has brought it."""
        earlier = self.earlier.get(root)
        moved = earlier is not None and document not in earlier
        return moved or self.stored.get(document) != content_hash

    def pass_over(self) -> None:
        self.report.unchanged += 1
        self._done()

    def skip(self, error: DocumentError, document: str) -> None:
        self.report.skipped.append(error)
        self._unread(error, document)

    def fail(self, error: DocumentError, document: str) -> None:
        self.report.failures.append(error)
        self._unread(error, document)

    def embedded(self, batch: _Batch, passages: int) -> None:
        self.report.embedded += passages
        self.report.underway += len(batch.documents) * passages / len(batch.passages)
        self._advance()

    def stored_batch(self, batch: _Batch) -> None:
        replaced = len(batch.documents & self.stored.keys())
        self.report.replaced += replaced
        self.report.added += len(batch.documents) - replaced
        self.report.passages += len(batch.passages)
        self.report.underway = 0.0
        self._done(len(batch.documents))

    def _unread(self, error: DocumentError, document: str) -> None:
        if document in self.stored:
            self.report.kept.add(error.path)
        self._done()

    def _done(self, sources: int = 1) -> None:
        self.report.sources += sources
        self._advance()


def _bytes_and_hash(source: SourceFile) -> tuple[bytes, str]:
    data = read_bytes(source)
    return data, content_hash(data)


def _id_of(source: Source) -> str:
    return document_id(source.name if isinstance(source, SourceFile) else source)


def _only(group: BaseExceptionGroup[BaseException]) -> BaseException:
    """The first cause of a group, which is mostly the only one."""
    cause: BaseException = group
    while isinstance(cause, BaseExceptionGroup):
        cause = cause.exceptions[0]
    return cause
