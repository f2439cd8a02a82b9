"""The providers of the embedded stack: what they are, how they are configured, and how they are."""

from typing import Any

from pydantic import BaseModel, Field

from lightspeed.api.endpoint import Call, Endpoint
from lightspeed.errors import NotFound
from lightspeed.identity.actions import Action

_TAGS = ("catalogue",)


class ProviderSummary(BaseModel):
    provider_id: str
    provider_type: str


class ProvidersListResponse(BaseModel):
    """The providers by API."""

    providers: dict[str, list[ProviderSummary]] = Field(
        examples=[{"inference": [{"provider_id": "openai", "provider_type": "remote::openai"}]}]
    )


class Health(BaseModel):
    """`status` is `OK`, `Error` or, for a provider that cannot be asked, `Not Implemented`."""

    status: str
    message: str | None = None


class ProviderResponse(BaseModel):
    """`config` is as in run.yaml; secrets are masked."""

    api: str
    config: dict[str, Any]
    health: Health
    provider_id: str
    provider_type: str


async def list_providers(call: Call) -> ProvidersListResponse:
    by_api: dict[str, list[ProviderSummary]] = {}
    for entry in await call.services.services.stack.provider_states():
        summary = ProviderSummary(provider_id=entry.provider_id, provider_type=entry.provider_type)
        by_api.setdefault(entry.api, []).append(summary)
    return ProvidersListResponse(providers=by_api)


async def get_provider(call: Call) -> ProviderResponse:
    # The first of that id: two APIs may use the same.
    states = await call.services.services.stack.provider_states(fresh=True)
    entry = next((state for state in states if state.provider_id == call.path["provider_id"]), None)
    if entry is None:
        raise NotFound("Provider", call.path["provider_id"])
    return ProviderResponse(
        api=entry.api,
        config=dict(entry.config),
        health=Health(status=entry.status, message=entry.message),
        provider_id=entry.provider_id,
        provider_type=entry.provider_type,
    )


ENDPOINTS = (
    Endpoint(
        "GET",
        "/v1/providers",
        list_providers,
        action=Action.LIST_PROVIDERS,
        tags=_TAGS,
        summary="The providers of models, knowledge stores and so on",
        response=ProvidersListResponse,
    ),
    Endpoint(
        "GET",
        "/v1/providers/{provider_id}",
        get_provider,
        action=Action.GET_PROVIDER,
        tags=_TAGS,
        summary="One provider, with its health at this moment",
        response=ProviderResponse,
        errors=(NotFound,),
    ),
)
