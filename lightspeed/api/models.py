"""GET /v1/models."""

from typing import Any

from pydantic import BaseModel, ConfigDict

from lightspeed.api.endpoint import Call, Endpoint
from lightspeed.identity.actions import Action


class ModelsQuery(BaseModel):
    model_config = ConfigDict(extra="forbid")

    model_type: str | None = None


class ModelDescription(BaseModel):
    identifier: str
    metadata: dict[str, Any]
    api_model_type: str
    provider_id: str
    type: str
    provider_resource_id: str
    model_type: str


class ModelsResponse(BaseModel):
    models: list[ModelDescription]


async def models(call: Call[None, ModelsQuery]) -> ModelsResponse:
    wanted = call.query.model_type
    found = await call.services.services.stack.models()
    return ModelsResponse(
        models=[
            ModelDescription(
                identifier=model.identifier,
                metadata=dict(model.metadata),
                api_model_type=model.model_type,
                provider_id=model.provider_id,
                type="model",
                provider_resource_id=model.provider_resource_id,
                model_type=model.model_type,
            )
            for model in found
            if wanted is None or model.model_type == wanted
        ]
    )


ENDPOINTS = (
    Endpoint(
        "GET",
        "/v1/models",
        models,
        action=Action.GET_MODELS,
        tags=("catalogue",),
        summary="The models that can be asked",
        query=ModelsQuery,
        response=ModelsResponse,
    ),
)
