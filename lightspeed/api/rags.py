"""The knowledge that a caller may search, under the names that users know."""

from collections.abc import Mapping
from typing import Any, Final

from pydantic import BaseModel, Field

from lightspeed.api.endpoint import Call, Endpoint
from lightspeed.api.paging import PageInfo, PageQuery, page
from lightspeed.api.store_access import ListedStore, StoreAccess
from lightspeed.api.vector_stores import expiry
from lightspeed.configuration.rag import OKP
from lightspeed.errors import NotFound, StorageError
from lightspeed.identity.actions import Action

_TAGS = ("rags",)
_RAG = "Rag"
_PORTAL: Final = "portal-rag"  # the store of the Offline Knowledge Portal


class RAGListResponse(PageInfo):
    rags: list[str] = Field(examples=[["knowledge", "okp"]])


class RAGInfoResponse(BaseModel):
    """Times are in seconds since 1970."""

    id: str
    name: str | None = None
    created_at: int
    last_active_at: int | None = None
    usage_bytes: int
    expires_at: int | None = None
    object: str = "vector_store"
    status: str


async def list_rags(call: Call[None, PageQuery]) -> RAGListResponse:
    query, names = call.query, _names(call)
    listed = list(await StoreAccess(call).listed())
    if call.services.plan.configuration.rag.uses_portal and all(store.id != _PORTAL for store in listed):
        listed.append(ListedStore(_PORTAL, call.services.services.started_at, None))
    listed.sort(key=lambda store: (store.created_at, store.id), reverse=query.order == "desc")
    known = list(dict.fromkeys(names.get(store.id, store.id) for store in listed))
    wanted, has_more = page(known, query, str, resource=_RAG)
    return RAGListResponse(
        rags=wanted,
        has_more=has_more,
        first_id=wanted[0] if wanted else None,
        last_id=wanted[-1] if wanted else None,
    )


async def get_rag(call: Call) -> RAGInfoResponse:
    services, names, asked = call.services.services, _names(call), call.path["rag_id"]
    store_id = next((store for store, name in names.items() if name == asked), asked)
    name = names.get(store_id, store_id)
    try:
        owned = await StoreAccess(call).readable(store_id)
        store = await services.vector_stores.get(store_id)
    except NotFound:
        if store_id == _PORTAL and call.services.plan.configuration.rag.uses_portal:
            return _portal(services.started_at)
        raise NotFound(_RAG, asked) from None
    expires_at, status = expiry(store, owned)
    return RAGInfoResponse(
        id=name,
        name=store.name,
        created_at=store.created_at,
        last_active_at=store.last_active_at,
        usage_bytes=store.usage_bytes,
        expires_at=expires_at,
        status=status,
    )


def _names(call: Call[Any, Any]) -> Mapping[str, str]:
    """What users call a store, by its id in the stack. Of several entries for one store the first counts."""
    entries = call.services.plan.configuration.byok_rag
    return {_PORTAL: OKP} | {entry.vector_db_id: entry.rag_id for entry in reversed(entries)}


def _portal(started_at: int) -> RAGInfoResponse:
    return RAGInfoResponse(
        id=OKP,
        name="Offline Knowledge Portal",
        created_at=started_at,
        usage_bytes=0,
        status="completed",
    )


ENDPOINTS = (
    Endpoint(
        "GET",
        "/v1/rags",
        list_rags,
        action=Action.LIST_RAGS,
        tags=_TAGS,
        summary="List the knowledge that can be searched",
        query=PageQuery,
        response=RAGListResponse,
        errors=(NotFound, StorageError),
    ),
    Endpoint(
        "GET",
        "/v1/rags/{rag_id}",
        get_rag,
        action=Action.GET_RAG,
        tags=_TAGS,
        summary="Read what is known of one knowledge store",
        response=RAGInfoResponse,
        errors=(NotFound, StorageError),
    ),
)
