"""The knowledge stores of the server: searched and filled over HTTP."""

import math
from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

from anyio import to_thread

from lightspeed.errors import BadRequest, NotFound
from lightspeed.stack.passages import EmbeddingModel, ImportReport, NewPassage, Passage
from lightspeed.stack.question import Question, Vectors
from lightspeed.stack.remote.embedding import RemoteEmbeddings
from lightspeed.stack.remote.failures import NotServed
from lightspeed.stack.remote.server import StackServer
from lightspeed.stack.remote.store_directory import NAME_KEY, STORE, StoreDirectory, StoreEntry

_INSERTED_AT_ONCE = 256
_BYOK = "byok_"


class RemoteKnowledge:
    """The server cannot tell which documents a store holds, nor what stands beside a passage."""

    def __init__(self, server: StackServer, directory: StoreDirectory) -> None:
        self._server = server
        self._directory = directory
        self._embeddings = RemoteEmbeddings(server)

    async def ids(self) -> list[str]:
        try:
            return [entry.name for entry in await self._directory.all()]
        except NotServed:
            return []

    async def embedding_model(self) -> EmbeddingModel | None:
        """The model of the first store that no user has made, which new stores use too."""
        try:
            entries = await self._directory.all()
        except NotServed:
            return None
        return next((entry.model for entry in entries if entry.model and not _is_users(entry)), None)

    async def model_of(self, store: str) -> EmbeddingModel | None:
        """None if the store is not there, or the server does not tell its model."""
        try:
            return (await self._directory.find(store)).model
        except (NotFound, NotServed):
            return None

    async def create(self, store: str, model: EmbeddingModel) -> None:
        """Make a store unless there is one of that name. Its id is the server's choice."""
        try:
            await self._directory.find(store)
        except NotFound:
            body = {
                "name": store,
                "metadata": {NAME_KEY: store},
                "embedding_model": model.name,
                "embedding_dimension": model.dimension,
            }
            await self._server.post("/vector_stores", body, resource=STORE, identifier=store)
            self._directory.forget()

    def question(self, text: str) -> Question:
        return Question(text, self._embeddings)

    async def search(self, store: str, question: Question, limit: int) -> list[Passage]:
        """The best passages of one store, best first. The server embeds the question. Raises NotFound."""
        entry = await self._directory.find(store)
        body = {
            "vector_store_id": entry.id,
            "query": question.text,
            "params": {"max_chunks": limit, "mode": "vector"},
        }
        try:
            found = await self._server.post("/vector-io/query", body, resource=STORE, identifier=entry.id)
        except NotFound:
            self._directory.forget()
            raise
        scale = f"{_engine(entry)} {entry.model.name if entry.model else ''}"
        return [
            _passage(chunk, score, scale)
            for chunk, score in zip(found["chunks"], found["scores"], strict=True)
        ]

    async def neighbours(
        self, store: str, passage: str, count: int
    ) -> tuple[Sequence[Passage], Sequence[Passage]]:
        return (), ()

    async def insert(
        self,
        store: str,
        passages: Sequence[NewPassage],
        replacing: Collection[str] = (),
        embedded: Callable[[int], None] = lambda count: None,
    ) -> None:
        """Embed passages and store them. What they replace stays, as the server cannot remove it. Raises NotFound."""
        entry = await self._directory.find(store)
        if entry.model is None:
            raise BadRequest(f"The Llama Stack server does not tell the embedding model of store {store}.")
        for start in range(0, len(passages), _INSERTED_AT_ONCE):
            part = passages[start : start + _INSERTED_AT_ONCE]
            vectors = await self._embeddings.embed(entry.model.name, [passage.content for passage in part])
            chunks = await to_thread.run_sync(_chunks, part, vectors, entry.model.name)
            body = {"vector_store_id": entry.id, "chunks": chunks}
            await self._server.post("/vector-io/insert", body, resource=STORE, identifier=entry.id)
            embedded(len(part))

    async def documents(self, store: str) -> dict[str, str]:
        """Nothing: the server does not tell, so that everything is read anew."""
        await self._directory.find(store)
        return {}

    async def mark_filled(self, store: str) -> None:
        """Nothing: the server has no place for such a mark."""

    async def import_stock(self, store: str, path: Path, stock: str, model: str) -> ImportReport:
        raise BadRequest("A database can be taken over only by the embedded stack.")

    async def documents_under(self, store: str, key: str, value: str) -> list[str]:
        return []

    async def delete_documents(self, store: str, documents: Collection[str]) -> int:
        raise BadRequest(f"The Llama Stack server cannot remove single documents from store {store}.")


def _engine(entry: StoreEntry) -> str:
    """What the scores of a store compare within: lightspeed-stack writes one provider for each store that users bring."""
    return _BYOK if entry.provider_id.startswith(_BYOK) else entry.provider_id


def _is_users(entry: StoreEntry) -> bool:
    return entry.name.startswith("vs_")


def _passage(chunk: Mapping[str, Any], score: float | None, scale: str) -> Passage:
    metadata = dict(chunk.get("metadata") or {})
    told = chunk.get("chunk_metadata") or {}
    document = told.get("document_id")
    if document is not None and metadata.get("document_id") is None and metadata.get("doc_id") is None:
        metadata["document_id"] = document
    return Passage(
        _text(chunk["content"]), _bounded(score), metadata, str(chunk.get("chunk_id") or ""), scale
    )


def _bounded(score: float | None) -> float:
    """Between 0 and 1. The stack's own FAISS says infinity of an exact match, which JSON does not have."""
    if score is None or math.isinf(score):
        return 1.0
    return max(0.0, score) / (1.0 + max(0.0, score))


def _text(content: Any) -> str:
    if isinstance(content, str):
        return content
    items = content if isinstance(content, list) else [content]
    return "\n".join(item["text"] for item in items if isinstance(item, dict) and item.get("text"))


def _chunks(passages: Sequence[NewPassage], vectors: Vectors, model: str) -> list[dict[str, Any]]:
    return [
        _chunk(passage, vector, model) for passage, vector in zip(passages, vectors.tolist(), strict=True)
    ]


def _chunk(passage: NewPassage, vector: list[float], model: str) -> dict[str, Any]:
    return {
        "content": passage.content,
        "chunk_id": passage.id,
        "metadata": dict(passage.metadata),
        "chunk_metadata": {
            "chunk_id": passage.id,
            "document_id": str(passage.metadata.get("document_id", "")) or None,
            "source": str(passage.metadata.get("docs_url", "")) or None,
            "content_token_count": passage.token_count,
        },
        "embedding": vector,
        "embedding_model": model,
        "embedding_dimension": len(vector),
    }
