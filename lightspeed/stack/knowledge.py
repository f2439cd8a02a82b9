"""The knowledge stores of the stack: passages with their vectors, found by meaning."""

import logging
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

from anyio import Lock, to_thread
from llama_stack_api import (
    Api,
    ChunkForDeletion,
    ChunkMetadata,
    DeleteChunksRequest,
    EmbeddedChunk,
    InsertChunksRequest,
    OpenAIEmbeddingsRequestWithExtraBody,
    QueryChunksRequest,
)

from lightspeed.errors import NotFound
from lightspeed.stack.passages import EmbeddingModel, NewPassage, Passage

logger = logging.getLogger(__name__)

_EMBEDDED_AT_ONCE = 256


class KnowledgeStores:
    """Searches and fills the vector stores that the run configuration names, or that were made since."""

    def __init__(self, impls: Mapping[Any, Any]) -> None:
        self._vector_io = impls.get(Api.vector_io)
        self._table = impls.get(Api.vector_stores)
        self._inference = impls.get(Api.inference)
        self._versions: dict[str, tuple[int, ...]] = {}
        self._reading = Lock()

    async def open(self) -> None:
        """Read what stands in the databases, so that the first question does not have to."""
        for store in await self.ids():
            try:
                await self._refresh(store)
            except Exception as error:
                logger.warning("Knowledge store %s cannot be read: %s", store, error)

    async def ids(self) -> list[str]:
        if self._table is None:
            return []
        stores = await self._table.list_vector_stores()
        return [store.identifier for store in stores if store.provider_id in self._table.impls_by_provider_id]

    async def embedding_model(self) -> EmbeddingModel | None:
        """The model of the first store, which new stores use too."""
        stores = await self._table.list_vector_stores() if self._table is not None else []
        return EmbeddingModel(stores[0].embedding_model, stores[0].embedding_dimension) if stores else None

    async def create(self, store: str, model: EmbeddingModel) -> None:
        """Make a store unless there is one of that name."""
        if self._table is None:
            raise NotFound("Vector store provider", "vector_io")
        if store not in await self.ids():
            await self._table.register_vector_store(
                vector_store_id=store, embedding_model=model.name, embedding_dimension=model.dimension
            )

    async def search(self, store: str, query: str, limit: int) -> list[Passage]:
        """The nearest passages of one store, best first. Raises NotFound for a store that is not there."""
        if self._vector_io is None or store not in await self.ids():
            raise NotFound("Vector store", store)
        await self._refresh(store)
        found = await self._vector_io.query_chunks(
            QueryChunksRequest(
                vector_store_id=store, query=query, params={"max_chunks": limit, "mode": "vector"}
            )
        )
        return [
            Passage(_text(chunk.content), _bounded(score), dict(chunk.metadata))
            for chunk, score in zip(found.chunks, found.scores, strict=True)
        ]

    async def insert(
        self, store: str, passages: Sequence[NewPassage], replacing: Collection[str] = ()
    ) -> None:
        """Embed passages and store them; documents whose ids are in `replacing` go just before."""
        if self._vector_io is None or self._table is None or self._inference is None:
            raise NotFound("Vector store", store)
        registered = await self._table.get_object_by_identifier("vector_store", store)
        if registered is None:
            raise NotFound("Vector store", store)
        vectors: list[list[float]] = []
        for start in range(0, len(passages), _EMBEDDED_AT_ONCE):
            texts = [passage.content for passage in passages[start : start + _EMBEDDED_AT_ONCE]]
            answer = await self._inference.openai_embeddings(
                OpenAIEmbeddingsRequestWithExtraBody(model=registered.embedding_model, input=texts)
            )
            vectors.extend(item.embedding for item in answer.data)
        chunks = [
            _embedded(passage, vector, registered.embedding_model)
            for passage, vector in zip(passages, vectors, strict=True)
        ]
        if replacing:
            await self.delete_documents(store, replacing)
        await self._vector_io.insert_chunks(InsertChunksRequest(vector_store_id=store, chunks=chunks))
        await self._seen(store)

    async def documents(self, store: str) -> dict[str, str]:
        """The content hash of each document in a store, by document id."""
        hashes: dict[str, str] = {}
        for chunk in await self._stored(store):
            if chunk.metadata.get("document_id"):
                hashes[str(chunk.metadata["document_id"])] = str(chunk.metadata.get("content_hash", ""))
        return hashes

    async def delete_documents(self, store: str, documents: Collection[str]) -> int:
        """Remove documents from a store; returns how many passages went with them."""
        gone = [
            chunk for chunk in await self._stored(store) if chunk.metadata.get("document_id") in documents
        ]
        if gone:
            provider = await self._provider(store)
            await provider.delete_chunks(
                DeleteChunksRequest(
                    vector_store_id=store,
                    chunks=[
                        ChunkForDeletion(
                            chunk_id=chunk.chunk_id, document_id=str(chunk.metadata["document_id"])
                        )
                        for chunk in gone
                    ],
                )
            )
            await _forget_the_last(provider.cache[store].index)
            await self._seen(store)
        return len(gone)

    async def _provider(self, store: str) -> Any:
        if self._table is None:
            raise NotFound("Vector store", store)
        return await self._table.get_provider_impl(store)

    async def _stored(self, store: str) -> list[Any]:
        await self._refresh(store)
        provider = await self._provider(store)
        return list(provider.cache[store].index.chunk_by_index.values())

    async def _refresh(self, store: str) -> None:
        """The stock FAISS provider reads a store once; another process may have filled it since."""
        provider = await self._provider(store)
        if not hasattr(provider, "cache") or not hasattr(provider, "kvstore"):
            return
        version = await to_thread.run_sync(_version, provider.kvstore)
        if self._versions.get(store) == version:
            return
        async with self._reading:
            if self._versions.get(store) == version:
                return
            held = provider.cache.get(store)
            if held is None:
                await provider._get_and_cache_vector_store_index(store)
            elif store in self._versions:
                held.index = await type(held.index).create(
                    held.vector_store.embedding_dimension, provider.kvstore, store
                )
            self._versions[store] = version

    async def _seen(self, store: str) -> None:
        provider = await self._provider(store)
        if hasattr(provider, "kvstore"):
            self._versions[store] = await to_thread.run_sync(_version, provider.kvstore)


async def _forget_the_last(index: Any) -> None:
    """The stock FAISS index keeps the text of a chunk that stood last when it was deleted, and is then out of step."""
    left_over = [position for position in index.chunk_by_index if position >= index.index.ntotal]
    if left_over:
        for position in left_over:
            del index.chunk_by_index[position]
        await index._save_index()


def _version(kvstore: Any) -> tuple[int, ...]:
    database = getattr(kvstore, "db_path", None)
    if not database:
        return ()
    files = (Path(database), Path(f"{database}-wal"))
    return tuple(file.stat().st_mtime_ns for file in files if file.exists())


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


def _bounded(score: float) -> float:
    """The stock provider scores 1/d² for a squared distance d²; this is 1/(1+d²)."""
    return 1.0 if score == float("inf") else score / (1.0 + score)


def _text(content: Any) -> str:
    if isinstance(content, str):
        return content
    items = content if isinstance(content, list) else [content]
    return "\n".join(item.text for item in items if getattr(item, "text", None))
