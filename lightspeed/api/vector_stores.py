"""Vector stores: each belongs to who made it; those of the configuration are there for everyone to read."""

from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime
from typing import Annotated, Any, Final, Self

import anyio
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, field_validator, model_validator

from lightspeed.api.chunking_strategies import ChunkingStrategy, strategy_values
from lightspeed.api.endpoint import Call, Endpoint
from lightspeed.api.json_codec import encode
from lightspeed.api.paging import PageInfo, PageQuery, page
from lightspeed.api.store_access import STORE, StoreAccess, new_store_id
from lightspeed.errors import BadRequest, Forbidden, NotFound, StorageError
from lightspeed.identity.actions import Action
from lightspeed.stack.stored_objects import NewVectorStore, SearchHit, VectorStore
from lightspeed.storage.owned import OwnedStore

_TAGS = ("vector-stores",)
_PATH = "/v1/vector-stores"
_ONE = _PATH + "/{vector_store_id}"
_LAST_MOMENT: Final = 253_402_300_799  # the end of the year 9999, in seconds since 1970

_LARGEST_METADATA: Final = 65_536  # bytes of JSON


def _of_moderate_size(metadata: dict[str, Any]) -> dict[str, Any]:
    if len(encode(metadata)) > _LARGEST_METADATA:
        raise ValueError(f"metadata must not have more than {_LARGEST_METADATA} bytes")
    return metadata


Attribute = str | bool | int | float
Metadata = Annotated[dict[str, Any], AfterValidator(_of_moderate_size)]
Query = Annotated[str, Field(max_length=50_000)]


class VectorStoreCreateRequest(BaseModel):
    model_config = ConfigDict(extra="forbid")

    name: str = Field(min_length=1, max_length=256, examples=["manuals"])
    embedding_model: str | None = Field(None, min_length=1, description="As `/v1/models` names it.")
    embedding_dimension: int | None = Field(None, gt=0, le=100_000)
    chunking_strategy: ChunkingStrategy | None = None
    provider_id: str | None = Field(None, min_length=1, description="A provider of `vector_io` in run.yaml.")
    metadata: Metadata | None = None


class VectorStoreUpdateRequest(BaseModel):
    """At least one of the fields."""

    model_config = ConfigDict(extra="forbid")

    name: str | None = Field(None, min_length=1, max_length=256)
    expires_at: int | None = Field(None, gt=0, le=_LAST_MOMENT, description="Seconds since 1970.")
    metadata: Metadata | None = None

    @model_validator(mode="after")
    def _changes_something(self) -> Self:
        if self.name is None and self.expires_at is None and self.metadata is None:
            raise ValueError("At least one field must be provided: 'name', 'expires_at', or 'metadata'")
        return self


class VectorStoreResponse(BaseModel):
    """Times are in seconds since 1970."""

    id: str = Field(examples=["vs_7b52a8cf-0fa3-489c-beab-27e061d102f3"])
    name: str
    created_at: int
    last_active_at: int | None = None
    expires_at: int | None = None
    status: str = Field(description="`completed`, `in_progress`, `expired` or `unknown`.")
    usage_bytes: int = 0
    metadata: dict[str, Any] | None = None


class VectorStoresListResponse(PageInfo):
    data: list[VectorStoreResponse]
    object: str = "list"


class VectorStoreDeleteResponse(BaseModel):
    deleted: bool
    vector_store_id: str
    response: str


class VectorStoreSearchRequest(BaseModel):
    model_config = ConfigDict(extra="forbid")

    query: Query | Annotated[list[Query], Field(max_length=20)] = Field(
        examples=["How do I restore a backup?"]
    )
    max_num_results: int = Field(10, ge=1, le=50)
    filters: dict[str, Any] | None = Field(None, examples=[{"type": "eq", "key": "product", "value": "acme"}])
    ranking_options: "RankingOptions | None" = None
    rewrite_query: bool = False

    @field_validator("query")
    @classmethod
    def _says_something(cls, value: str | list[str]) -> str | list[str]:
        if not value or any(not query.strip() for query in ([value] if isinstance(value, str) else value)):
            raise ValueError("a query must not be empty")
        return value


class RankingOptions(BaseModel):
    model_config = ConfigDict(extra="forbid")

    ranker: str | None = None
    score_threshold: float | None = Field(None, ge=0, le=1)


class SearchContent(BaseModel):
    type: str = "text"
    text: str


class SearchResult(BaseModel):
    file_id: str
    filename: str
    score: float
    attributes: dict[str, Attribute] | None = None
    content: list[SearchContent]


class VectorStoreSearchResponse(BaseModel):
    object: str = "vector_store.search_results.page"
    search_query: list[str]
    data: list[SearchResult]
    has_more: bool = False
    next_page: str | None = None


async def list_stores(call: Call[None, PageQuery]) -> VectorStoresListResponse:
    services, query = call.services.services, call.query
    listed = await StoreAccess(call).listed(newest_first=query.order == "desc")
    wanted, has_more = page(listed, query, lambda store: store.id, resource=STORE)
    found = []
    for entry in wanted:
        try:
            found.append(_response(await services.vector_stores.get(entry.id), entry.owned))
        except NotFound:
            # It is being made or removed at this moment.
            continue
    return VectorStoresListResponse(
        data=found,
        has_more=has_more,
        first_id=wanted[0].id if wanted else None,
        last_id=wanted[-1].id if wanted else None,
    )


async def create_store(call: Call[VectorStoreCreateRequest]) -> VectorStoreResponse:
    services, body = call.services.services, call.body
    store_id = new_store_id()
    # Its owner is written first: a store without one is nobody's.
    owned = OwnedStore(store_id, call.principal.user_id, datetime.now(UTC))
    await services.ownership.add_store(owned)
    try:
        store = await services.vector_stores.create(
            store_id,
            NewVectorStore(
                name=body.name,
                embedding_model=body.embedding_model,
                embedding_dimension=body.embedding_dimension,
                provider_id=body.provider_id,
                chunking_strategy=strategy_values(body.chunking_strategy),
                metadata=body.metadata or {},
            ),
        )
        if store.id != store_id:
            # A Llama Stack server has chosen another id. Until the store has its owner, nobody sees it.
            owned = replace(owned, id=store.id)
            try:
                await services.ownership.add_store(owned)
            except BaseException:
                with anyio.CancelScope(shield=True):
                    await services.vector_stores.delete(store.id)
                raise
            await services.ownership.remove_store(store_id)
    except BaseException:
        with anyio.CancelScope(shield=True):
            await services.ownership.remove_store(store_id)
        raise
    return _response(store, owned)


async def get_store(call: Call) -> VectorStoreResponse:
    store_id = call.path["vector_store_id"]
    owned = await StoreAccess(call).readable(store_id)
    return _response(await call.services.services.vector_stores.get(store_id), owned)


async def update_store(call: Call[VectorStoreUpdateRequest]) -> VectorStoreResponse:
    services, body, store_id = call.services.services, call.body, call.path["vector_store_id"]
    owned = await StoreAccess(call).changeable(store_id)
    if body.name is not None or body.metadata is not None:
        store = await services.vector_stores.update(store_id, name=body.name, metadata=body.metadata)
    else:
        store = await services.vector_stores.get(store_id)
    if body.expires_at is not None:
        if owned is None:
            raise BadRequest(f"Vector store {store_id} has no owner, so that it cannot expire.")
        await services.ownership.set_expiry(store_id, body.expires_at)
        owned = replace(owned, expires_at=body.expires_at)
    return _response(store, owned)


async def delete_store(call: Call) -> VectorStoreDeleteResponse:
    services, store_id = call.services.services, call.path["vector_store_id"]
    try:
        await StoreAccess(call).changeable(store_id)
        deleted = await services.vector_stores.delete(store_id)
        await services.ownership.remove_store(store_id)
    except NotFound:
        deleted = False
    return VectorStoreDeleteResponse(
        deleted=deleted,
        vector_store_id=store_id,
        response="Vector store deleted successfully" if deleted else "Vector store not found",
    )


async def search_store(call: Call[VectorStoreSearchRequest]) -> VectorStoreSearchResponse:
    services, body, store_id = call.services.services, call.body, call.path["vector_store_id"]
    owned = await StoreAccess(call).readable(store_id)
    refuse_expired(owned)
    queries = [body.query] if isinstance(body.query, str) else body.query
    options = body.ranking_options or RankingOptions()
    hits = await services.vector_stores.search(
        store_id,
        queries,
        limit=body.max_num_results,
        filters=body.filters or None,
        score_threshold=options.score_threshold,
        ranker=options.ranker,
        rewrite=body.rewrite_query,
    )
    return VectorStoreSearchResponse(search_query=queries, data=[_result(hit) for hit in hits])


def refuse_expired(owned: OwnedStore | None) -> None:
    """Raises BadRequest for a store whose time is over."""
    if owned is not None and owned.expired:
        raise BadRequest(
            f"Vector store {owned.id} has expired; set its `expires_at` anew to use it again.",
            response="Vector store has expired",
        )


def expiry(store: VectorStore, owned: OwnedStore | None) -> tuple[int | None, str]:
    """When a store expires, and its status, by what its owner has set and what its provider says."""
    if owned is None or owned.expires_at is None:
        return store.expires_at, store.status
    return owned.expires_at, "expired" if owned.expired else store.status


def _response(store: VectorStore, owned: OwnedStore | None) -> VectorStoreResponse:
    expires_at, status = expiry(store, owned)
    return VectorStoreResponse(
        id=store.id,
        name=store.name,
        created_at=store.created_at,
        last_active_at=store.last_active_at,
        expires_at=expires_at,
        status=status,
        usage_bytes=store.usage_bytes,
        metadata=dict(store.metadata),
    )


def _result(hit: SearchHit) -> SearchResult:
    attributes: Mapping[str, Attribute] = hit.attributes
    return SearchResult(
        file_id=hit.file_id,
        filename=hit.filename,
        score=hit.score,
        attributes=dict(attributes),
        content=[SearchContent(text=text) for text in hit.texts],
    )


ENDPOINTS = (
    Endpoint(
        "GET",
        _PATH,
        list_stores,
        action=Action.READ_VECTOR_STORES,
        tags=_TAGS,
        summary="List vector stores",
        description="Your own and those of the configuration; with the action `admin` everyone's.",
        query=PageQuery,
        response=VectorStoresListResponse,
        errors=(NotFound, StorageError),
    ),
    Endpoint(
        "POST",
        _PATH,
        create_store,
        action=Action.MANAGE_VECTOR_STORES,
        tags=_TAGS,
        summary="Make a vector store of your own",
        request=VectorStoreCreateRequest,
        response=VectorStoreResponse,
        errors=(BadRequest, StorageError),
    ),
    Endpoint(
        "GET",
        _ONE,
        get_store,
        action=Action.READ_VECTOR_STORES,
        tags=_TAGS,
        summary="Read what is known of a vector store",
        response=VectorStoreResponse,
        errors=(NotFound, StorageError),
    ),
    Endpoint(
        "PUT",
        _ONE,
        update_store,
        action=Action.MANAGE_VECTOR_STORES,
        tags=_TAGS,
        summary="Change name, metadata or expiry of a vector store",
        request=VectorStoreUpdateRequest,
        response=VectorStoreResponse,
        errors=(BadRequest, Forbidden, NotFound, StorageError),
    ),
    Endpoint(
        "DELETE",
        _ONE,
        delete_store,
        action=Action.MANAGE_VECTOR_STORES,
        tags=_TAGS,
        summary="Delete a vector store with all that it holds",
        response=VectorStoreDeleteResponse,
        errors=(Forbidden, StorageError),
    ),
    Endpoint(
        "POST",
        _ONE + "/search",
        search_store,
        action=Action.READ_VECTOR_STORES,
        tags=_TAGS,
        summary="Search a vector store",
        request=VectorStoreSearchRequest,
        response=VectorStoreSearchResponse,
        errors=(BadRequest, NotFound, StorageError),
    ),
)
