"""The knowledge stores of the stack: passages with their vectors, found by meaning and by words.

Stores of our own provider are used directly, all others through the stack's protocol, which cannot list what they hold.
"""

import asyncio
import logging
from collections.abc import Callable, Collection, Mapping, Sequence
from glob import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any

from anyio import to_thread
from llama_stack_api import Api, ChunkMetadata, EmbeddedChunk, InsertChunksRequest, QueryChunksRequest

from lightspeed.errors import BadRequest, Forbidden, NotFound, StorageError
from lightspeed.stack.absent_stores import AbsentStores
from lightspeed.stack.embedding import Embeddings
from lightspeed.stack.passages import EmbeddingModel, ImportReport, NewPassage, Passage
from lightspeed.stack.providers.faiss_sqlite.chunks import Chunk, NewChunk
from lightspeed.stack.providers.faiss_sqlite.database import FILLED
from lightspeed.stack.providers.faiss_sqlite.folders import folder_name
from lightspeed.stack.question import Question, Vectors
from lightspeed.stack.store_choices import StoreChoices
from lightspeed.stack.store_table import StoreTable

if TYPE_CHECKING:
    from lightspeed.stack.providers.faiss_sqlite.store import ChunkStore

logger = logging.getLogger(__name__)


class KnowledgeStores:
    """Searches and fills the vector stores that the run configuration names, or that were made since."""

    def __init__(
        self,
        impls: Mapping[Any, Any],
        absent: AbsentStores | None = None,
        *,
        troubled: Callable[[], None] = lambda: None,
    ) -> None:
        """`troubled` is called when a store turns out to be unreadable."""
        self._troubled = troubled
        self._vector_io: Any = impls.get(Api.vector_io)
        self._table: Any = impls.get(Api.vector_stores)
        self._store_table = StoreTable(impls, absent)
        self._choices = StoreChoices(
            self._store_table, getattr(self._vector_io, "vector_stores_config", None)
        )
        self._embeddings = Embeddings(impls.get(Api.inference))
        self._touching: set[asyncio.Task[None]] = set()

    async def open(self) -> None:
        """Read what stands in the databases, so that the first question does not have to."""
        for store in await self._store_table.registered():
            try:
                provider = self._table.impls_by_provider_id[store.provider_id]
                if hasattr(provider, "prepare"):
                    await provider.prepare(store.identifier)
            except Exception as error:
                logger.warning("Knowledge store %s cannot be read: %s", store.identifier, error)
                self._troubled()

    async def ids(self) -> list[str]:
        return [store.identifier for store in await self._store_table.registered()]

    async def embedding_model(self) -> EmbeddingModel | None:
        """What new stores use, if run.yaml or a store there tells. Raises BadRequest if there is no such model."""
        return await self._choices.usual_embedding()

    async def model_of(self, store: str) -> EmbeddingModel | None:
        """What a store's passages are embedded by; None if it is not there. Raises Unavailable."""
        try:
            registered = await self._registered(store)
        except NotFound:
            return None
        return EmbeddingModel(registered.embedding_model, registered.embedding_dimension)

    async def create(self, store: str, model: EmbeddingModel) -> None:
        """Make a store unless there is one of that name. Raises Unavailable if no provider can keep it."""
        if store not in await self.ids():
            await self._store_table.impl.register_vector_store(
                vector_store_id=store,
                embedding_model=model.name,
                embedding_dimension=model.dimension,
                provider_id=self._choices.provider(None),
            )

    def question(self, text: str) -> Question:
        return Question(text, self._embeddings)

    async def search(self, store: str, question: Question, limit: int) -> list[Passage]:
        """The best passages of one store, best first. Raises NotFound for a store that is not there, Unavailable."""
        registered = await self._registered(store)
        chunks = await self._chunk_store(registered)
        if chunks is None:
            return await self._search_elsewhere(registered, question, limit)
        # FAISS comes with it, and stays out where all stores are elsewhere.
        from lightspeed.stack.providers.faiss_sqlite.querying import Search

        provider = self._table.impls_by_provider_id[registered.provider_id]
        mode = provider.config.mode
        vector = None if mode == "keyword" else await question.vector(registered.embedding_model)
        search = Search(question.text, limit, mode)
        found = await to_thread.run_sync(search.find, chunks, vector, abandon_on_cancel=True)
        # Nobody waits for it: one who gives up then would lose what was found.
        touching = asyncio.create_task(provider.touch(store))
        self._touching.add(touching)
        touching.add_done_callback(self._touching.discard)
        return [_passage(hit.chunk, hit.score, f"{mode} {registered.embedding_model}") for hit in found]

    async def neighbours(
        self, store: str, passage: str, count: int
    ) -> tuple[Sequence[Passage], Sequence[Passage]]:
        """Up to `count` passages just before and after one in its document, where the store can tell."""
        registered = await self._registered(store)
        chunks = await self._chunk_store(registered)
        if chunks is None:
            return (), ()

        def around() -> tuple[list[Chunk], list[Chunk]]:
            found = chunks.chunks([passage])
            return chunks.neighbours(found[0], count) if found else ([], [])

        before, after = await to_thread.run_sync(around, abandon_on_cancel=True)
        model = registered.embedding_model
        return [_passage(chunk, 0.0, model) for chunk in before], [
            _passage(chunk, 0.0, model) for chunk in after
        ]

    async def insert(
        self,
        store: str,
        passages: Sequence[NewPassage],
        replacing: Collection[str] = (),
        embedded: Callable[[int], None] = lambda count: None,
    ) -> None:
        """Embed passages and store them in place of documents whose ids are in `replacing`, all or nothing.

        `embedded` is told how many more have their vectors, which takes most of the time.

        Raises NotFound, Forbidden for a store that is read-only, StorageError.
        """
        registered = await self._registered(store)
        chunks = await self._chunk_store(registered, to_change=True)
        vectors = await self._embeddings.embed(
            registered.embedding_model, [passage.content for passage in passages], embedded
        )
        if chunks is None:
            await self._insert_elsewhere(registered, passages, vectors)
            return
        new = [_new_chunk(passage) for passage in passages]
        await to_thread.run_sync(lambda: chunks.insert(new, vectors, replacing=replacing))

    async def documents(self, store: str) -> dict[str, str]:
        """The content hash of each document in a store, by document id; nothing if the store cannot tell."""
        chunks = await self._chunk_store(await self._registered(store))
        return {} if chunks is None else await to_thread.run_sync(chunks.documents)

    async def documents_under(self, store: str, key: str, value: str) -> list[str]:
        """The ids of the documents whose passages have `value` under `key` in their metadata; none if the store cannot tell."""
        chunks = await self._chunk_store(await self._registered(store))
        if chunks is None:
            return []
        return await to_thread.run_sync(chunks.documents_where, {"type": "eq", "key": key, "value": value})

    async def delete_documents(self, store: str, documents: Collection[str]) -> int:
        """Remove documents from a store; returns how many passages went with them. Raises Forbidden, BadRequest."""
        registered = await self._registered(store)
        chunks = await self._chunk_store(registered, to_change=True)
        if chunks is None:
            raise BadRequest(f"Provider {registered.provider_id} cannot tell the documents of store {store}.")
        return await to_thread.run_sync(chunks.delete_documents, documents)

    async def mark_filled(self, store: str) -> None:
        """Note that an ingest has come to its end; `is_filled` tells."""
        chunks = await self._chunk_store(await self._registered(store))
        if chunks is not None:
            await to_thread.run_sync((chunks.folder / FILLED).touch)

    async def import_stock(self, store: str, path: Path, stock: str, model: str) -> ImportReport:
        """Take over a store of the stack's own `inline::faiss` from a database file, which stays as it is.

        `model` has made its vectors. Raises NotFound, Forbidden, BadRequest for vectors of another model or dimension,
        StorageError.
        """
        registered = await self._registered(store)
        if registered.embedding_model != model:
            raise BadRequest(
                f"Store {store} has the embedding model {registered.embedding_model}, and the passages of {stock} in"
                f" {path} were embedded by {model}."
            )
        chunks = await self._chunk_store(registered, to_change=True)
        if chunks is None:
            raise BadRequest(
                f"Store {store} is not of the provider type inline::faiss-sqlite, so nothing is imported."
            )
        return await to_thread.run_sync(_import, chunks, path, stock)

    async def _registered(self, store: str) -> Any:
        if self._table is None:
            raise NotFound("Vector store", store)
        return await self._store_table.found(store, "Vector store")

    async def _chunk_store(self, registered: Any, *, to_change: bool = False) -> "ChunkStore | None":
        """The store itself, if it is one of ours."""
        provider = self._table.impls_by_provider_id[registered.provider_id]
        if not hasattr(provider, "chunk_store"):
            return None
        if to_change and provider.is_read_only:
            raise Forbidden(f"Store {registered.identifier} is configured as read-only.")
        try:
            opened: ChunkStore = await provider.chunk_store(registered.identifier)
        except StorageError:
            self._troubled()
            raise
        return opened

    async def _search_elsewhere(self, registered: Any, question: Question, limit: int) -> list[Passage]:
        request = QueryChunksRequest(
            vector_store_id=registered.identifier,
            query=question.text,
            params={"max_chunks": limit, "mode": "vector"},
        )
        found = await self._vector_io.query_chunks(request)
        # lightspeed-stack writes a provider for each store: those of one kind compare.
        spec = getattr(self._table.impls_by_provider_id[registered.provider_id], "__provider_spec__", None)
        kind = getattr(spec, "provider_type", None) or registered.provider_id
        return [
            Passage(
                _text(chunk.content),
                _bounded(score),
                _metadata(chunk),
                chunk.chunk_id,
                f"{kind} {registered.embedding_model}",
            )
            for chunk, score in zip(found.chunks, found.scores, strict=True)
        ]

    async def _insert_elsewhere(
        self, registered: Any, passages: Sequence[NewPassage], vectors: Vectors
    ) -> None:
        chunks = [
            _embedded(passage, vector, registered.embedding_model)
            for passage, vector in zip(passages, vectors.tolist(), strict=True)
        ]
        request = InsertChunksRequest(vector_store_id=registered.identifier, chunks=chunks)
        await self._vector_io.insert_chunks(request)


def is_filled(run_configuration: Mapping[str, Any], store: str) -> bool:
    """Whether an ingest into a store has come to its end; looks at files only."""
    name = escape(folder_name(store))
    providers = (run_configuration.get("providers") or {}).get("vector_io") or ()
    paths = [(provider.get("config") or {}).get("path") for provider in providers]
    return any(any(Path(str(path)).expanduser().glob(f"{name}*/{FILLED}")) for path in paths if path)


def _import(chunks: "ChunkStore", path: Path, stock: str) -> ImportReport:
    from lightspeed.stack.providers.faiss_sqlite.stock_store import StockStoreReader

    with StockStoreReader(path, stock) as reader:
        if reader.dimension != chunks.dimension:
            raise BadRequest(
                f"The vectors of {stock} in {path} have {reader.dimension} dimensions, those of the store {chunks.dimension}."
            )
        for new, vectors in reader.batches():
            chunks.insert(new, vectors)
        report = reader.report
    return ImportReport(report.read, report.skipped, tuple(report.problems))


def _passage(chunk: Chunk, score: float, scale: str) -> Passage:
    metadata: dict[str, Any] = dict(chunk.metadata)
    for key, value in (("document_id", chunk.document_id), ("file_id", chunk.file_id)):
        if value is not None:
            metadata.setdefault(key, value)
    return Passage(chunk.content, score, metadata, chunk.id, scale)


def _new_chunk(passage: NewPassage) -> NewChunk:
    return NewChunk(
        passage.id,
        passage.content,
        document_id=str(passage.metadata.get("document_id", "")) or None,
        metadata=passage.metadata,
        token_count=passage.token_count,
    )


def _embedded(passage: NewPassage, vector: list[float], embedding_model: str) -> EmbeddedChunk:
    return EmbeddedChunk(
        content=passage.content,
        chunk_id=passage.id,
        metadata=dict(passage.metadata),
        chunk_metadata=ChunkMetadata(
            chunk_id=passage.id,
            document_id=str(passage.metadata.get("document_id", "")) or None,
            source=str(passage.metadata.get("docs_url", "")) or None,
            content_token_count=passage.token_count,
        ),
        embedding=vector,
        embedding_model=embedding_model,
        embedding_dimension=len(vector),
    )


def _metadata(chunk: Any) -> dict[str, Any]:
    metadata = dict(chunk.metadata)
    document = chunk.chunk_metadata.document_id if chunk.chunk_metadata else None
    if document is not None and metadata.get("document_id") is None and metadata.get("doc_id") is None:
        metadata["document_id"] = document
    return metadata


def _bounded(score: float) -> float:
    """Distances turned to scores have no upper bound; an exact match is infinite."""
    return 1.0 if score == float("inf") else max(0.0, score) / (1.0 + max(0.0, score))


def _text(content: Any) -> str:
    if isinstance(content, str):
        return content
    items = content if isinstance(content, list) else [content]
    return "\n".join(item.text for item in items if getattr(item, "text", None))
