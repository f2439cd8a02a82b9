"""The vector stores of the stack: made, changed, searched, removed."""

import math
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any

import anyio
from llama_stack_api import (
    Api,
    OpenAICreateVectorStoreRequestWithExtraBody,
    OpenAISearchVectorStoreRequest,
    OpenAIUpdateVectorStoreRequest,
)

from lightspeed.errors import NotFound
from lightspeed.stack.absent_stores import AbsentStores
from lightspeed.stack.stack_errors import reported
from lightspeed.stack.store_choices import StoreChoices
from lightspeed.stack.store_table import STORE, StoreTable
from lightspeed.stack.stored_objects import NewVectorStore, SearchHit, VectorStore
from lightspeed.stack.vector_store_files import VectorStoreFiles

# What the stack adds to the metadata of a store.
_RESERVED = frozenset({"provider_id", "provider_vector_store_id", "embedding_model", "embedding_dimension"})


class VectorStores:
    """All methods raise NotFound for a store that is not there, and Unavailable if its provider does not run, or
    run.yaml has no `vector_io`.

    `files` are the files in the stores.
    """

    def __init__(self, impls: Mapping[Any, Any], absent: AbsentStores | None = None) -> None:
        self._router: Any = impls.get(Api.vector_io)
        self._table = StoreTable(impls, absent)
        self._choices = StoreChoices(self._table, getattr(self._router, "vector_stores_config", None))
        self.files = VectorStoreFiles(self._table)

    async def ids(self) -> list[str]:
        """All stores whose provider runs."""
        return [store.identifier for store in await self._table.registered()]

    async def get(self, store_id: str) -> VectorStore:
        with reported(STORE, store_id):
            return _store(await (await self._table.serving(store_id)).openai_retrieve_vector_store(store_id))

    async def create(self, store_id: str, wanted: NewVectorStore) -> VectorStore:
        """Make a store under an id that nobody has. Raises BadRequest for a model or provider that does not fit."""
        table = self._table.impl
        provider = self._choices.provider(wanted.provider_id)
        model, dimension = await self._choices.embedding(wanted)
        strategy = dict(wanted.chunking_strategy) if wanted.chunking_strategy else None
        parameters = OpenAICreateVectorStoreRequestWithExtraBody.model_validate(
            {
                "name": wanted.name,
                "metadata": {key: value for key, value in wanted.metadata.items() if key not in _RESERVED},
                "chunking_strategy": strategy,
                "provider_id": provider,
                "provider_vector_store_id": store_id,
                "embedding_model": model,
                "embedding_dimension": dimension,
            }
        )
        with reported(STORE, store_id):
            try:
                await table.register_vector_store(
                    vector_store_id=store_id,
                    embedding_model=model,
                    embedding_dimension=dimension,
                    provider_id=provider,
                    provider_vector_store_id=store_id,
                    vector_store_name=wanted.name,
                )
                return _store(
                    await table.impls_by_provider_id[provider].openai_create_vector_store(parameters)
                )
            except BaseException:
                with anyio.CancelScope(shield=True), suppress(Exception):
                    await table.unregister_vector_store(store_id)
                raise

    async def update(
        self, store_id: str, *, name: str | None = None, metadata: Mapping[str, Any] | None = None
    ) -> VectorStore:
        """Change what is given. `metadata` replaces the user's own; what the stack has added stays."""
        table = await self._table.serving(store_id)
        with reported(STORE, store_id):
            if metadata is not None:
                current = (await table.openai_retrieve_vector_store(store_id)).metadata or {}
                metadata = {
                    **{key: value for key, value in metadata.items() if key not in _RESERVED},
                    **{key: value for key, value in current.items() if key in _RESERVED},
                }
            request = OpenAIUpdateVectorStoreRequest(
                name=name, metadata=None if metadata is None else dict(metadata)
            )
            return _store(await table.openai_update_vector_store(store_id, request))

    async def delete(self, store_id: str) -> bool:
        """Remove a store with all that it holds. False if it is not there."""
        try:
            table = await self._table.serving(store_id)
        except NotFound:
            return False
        try:
            with reported(STORE, store_id):
                await table.openai_delete_vector_store(store_id)
        except NotFound:
            # Its provider does not know it: half made, or another process was faster.
            await table.unregister_vector_store(store_id)
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
        """The passages that fit best, best first. `rewrite` lets a model say the query better, if run.yaml names one.

        Raises BadRequest for a filter that is wrong.
        """
        await self._table.serving(store_id)
        with reported(STORE, store_id):
            request = OpenAISearchVectorStoreRequest.model_validate(
                {
                    "query": list(queries) if len(queries) > 1 else queries[0],
                    "max_num_results": limit,
                    "filters": None if filters is None else dict(filters),
                    "rewrite_query": rewrite,
                    "ranking_options": {"score_threshold": score_threshold, "ranker": ranker},
                }
            )
            # The router, because it is what rewrites a query.
            found = await self._router.openai_search_vector_store(store_id, request)
        return [_hit(hit) for hit in found.data]


def _store(found: Any) -> VectorStore:
    return VectorStore(
        id=found.id,
        name=found.name or found.id,
        created_at=found.created_at,
        last_active_at=found.last_active_at,
        expires_at=found.expires_at,
        status=found.status or "unknown",
        usage_bytes=found.usage_bytes or 0,
        metadata=dict(found.metadata or {}),
    )


def _hit(found: Any) -> SearchHit:
    return SearchHit(
        file_id=found.file_id or "",
        filename=found.filename or "",
        # The stock provider says infinity of an exact match.
        score=found.score if math.isfinite(found.score) else 1.0,
        attributes=dict(found.attributes or {}),
        texts=[content.text for content in found.content],
    )
