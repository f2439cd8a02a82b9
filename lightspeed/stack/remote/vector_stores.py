"""The vector stores of the server: made, changed, searched, removed."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

from lightspeed.errors import BadRequest, NotFound, Unavailable
from lightspeed.stack.embedding_choice import embedding_dimension
from lightspeed.stack.remote.models import RemoteModels
from lightspeed.stack.remote.server import StackServer
from lightspeed.stack.remote.store_directory import NAME_KEY, STORE, StoreDirectory, entry_of
from lightspeed.stack.remote.vector_store_files import RemoteVectorStoreFiles
from lightspeed.stack.stored_objects import NewVectorStore, SearchHit, VectorStore

# What the server and this service add to the metadata of a store.
_RESERVED = frozenset(
    {"provider_id", "provider_vector_store_id", "embedding_model", "embedding_dimension", NAME_KEY}
)


class RemoteVectorStores:
    """All methods raise NotFound for a store that is not there, and Unavailable if the server has no vector stores."""

    def __init__(self, server: StackServer, directory: StoreDirectory, models: RemoteModels) -> None:
        self._server = server
        self._directory = directory
        self._models = models
        self.files = RemoteVectorStoreFiles(server, directory)

    async def ids(self) -> list[str]:
        return [entry.name for entry in await self._directory.all()]

    async def get(self, store_id: str) -> VectorStore:
        entry = await self._directory.find(store_id)
        try:
            return _store(await self._server.get(entry.path, resource=STORE, identifier=entry.id))
        except NotFound:
            self._directory.forget()
            raise NotFound(STORE, store_id) from None

    async def create(self, store_id: str, wanted: NewVectorStore) -> VectorStore:
        """Make a store. The server gives it an id, so that `store_id` is not used.

        Raises BadRequest for a model or provider that does not fit.
        """
        body: dict[str, Any] = {"name": wanted.name, "metadata": _own(wanted.metadata)}
        if wanted.provider_id is not None:
            body["provider_id"] = wanted.provider_id
        if wanted.chunking_strategy:
            body["chunking_strategy"] = dict(wanted.chunking_strategy)
        if wanted.embedding_model is None and wanted.embedding_dimension is None:
            try:
                return await self._create(body)
            except BadRequest as error:
                # The server has no default for stores.
                if "model" not in error.cause.lower():
                    raise
        name, dimension = await self._embedding(wanted)
        return await self._create(body | {"embedding_model": name, "embedding_dimension": dimension})

    async def update(
        self, store_id: str, *, name: str | None = None, metadata: Mapping[str, Any] | None = None
    ) -> VectorStore:
        """Change what is given. `metadata` replaces the user's own; what the server has added stays."""
        entry = await self._directory.find(store_id)
        body: dict[str, Any] = {} if name is None else {"name": name}
        if metadata is not None:
            found = await self._server.get(entry.path, resource=STORE, identifier=entry.id)
            current = found.get("metadata") or {}
            kept = {key: value for key, value in current.items() if key in _RESERVED}
            body["metadata"] = _own(metadata) | kept
        return _store(await self._server.post(entry.path, body, resource=STORE, identifier=entry.id))

    async def delete(self, store_id: str) -> bool:
        """Remove a store with all that it holds. False if it is not there."""
        try:
            entry = await self._directory.find(store_id)
            await self._server.delete(entry.path, resource=STORE, identifier=entry.id)
        except NotFound:
            return False
        finally:
            self._directory.forget()
        return True

    async def search(
        self,
        store_id: str,
        queries: Sequence[str],
        *,
        limit: int,
        filters: Mapping[str, Any] | None = None,
        score_threshold: float | None = None,
        ranker: str | None = None,
        rewrite: bool = False,
    ) -> list[SearchHit]:
        """The passages that fit best, best first. `rewrite` lets a model say the query better, if the server names one.

        Raises BadRequest for a filter that is wrong.
        """
        entry = await self._directory.find(store_id)
        body: dict[str, Any] = {
            "query": list(queries) if len(queries) > 1 else queries[0],
            "max_num_results": limit,
            "rewrite_query": rewrite,
            "ranking_options": {"score_threshold": score_threshold, "ranker": ranker},
        }
        if filters is not None:
            body["filters"] = dict(filters)
        found = await self._server.post(f"{entry.path}/search", body, resource=STORE, identifier=entry.id)
        return [_hit(hit) for hit in found["data"]]

    async def _create(self, body: Mapping[str, Any]) -> VectorStore:
        made = _store(await self._server.post("/vector_stores", body, resource=STORE, identifier="?"))
        self._directory.forget()
        return made

    async def _embedding(self, wanted: NewVectorStore) -> tuple[str, int]:
        """The model of a new store and the length of its embeddings."""
        models = [model for model in await self._models.all() if model.model_type == "embedding"]
        if wanted.embedding_model is None and not models:
            raise Unavailable(
                "The Llama Stack server has no embedding model.", response="Vector stores are not available"
            )
        name = wanted.embedding_model or models[0].identifier
        model = next((model for model in models if model.identifier == name), None)
        if model is None:
            raise BadRequest(f"{name} is not an embedding model.", response="Invalid embedding model")
        known = model.metadata.get("embedding_dimension")
        return name, embedding_dimension(name, known, wanted.embedding_dimension)


def _own(metadata: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in metadata.items() if key not in _RESERVED}


def _store(found: Mapping[str, Any]) -> VectorStore:
    identifier = entry_of(found).name
    metadata = dict(found.get("metadata") or {})
    metadata.pop(NAME_KEY, None)
    return VectorStore(
        id=identifier,
        name=str(found.get("name") or identifier),
        created_at=int(found["created_at"]),
        last_active_at=found.get("last_active_at"),
        expires_at=found.get("expires_at"),
        status=str(found.get("status") or "unknown"),
        usage_bytes=int(found.get("usage_bytes") or 0),
        metadata=metadata,
    )


def _hit(found: Mapping[str, Any]) -> SearchHit:
    score = found.get("score")
    return SearchHit(
        file_id=str(found.get("file_id") or ""),
        filename=str(found.get("filename") or ""),
        # The stack's own FAISS says infinity of an exact match, which JSON does not have.
        score=float(score) if score is not None and math.isfinite(score) else 1.0,
        attributes=dict(found.get("attributes") or {}),
        texts=[str(content["text"]) for content in found.get("content") or () if content.get("text")],
    )
