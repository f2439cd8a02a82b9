"""GET /v1/shields."""

from typing import Any

from pydantic import BaseModel

from lightspeed.api.endpoint import Call, Endpoint
from lightspeed.identity.actions import Action


class ShieldDescription(BaseModel):
    identifier: str
    provider_id: str
    params: dict[str, Any]
    provider_resource_id: str
    type: str = "shield"


class ShieldsResponse(BaseModel):
    shields: list[ShieldDescription]


async def shields(call: Call) -> ShieldsResponse:
    found = await call.services.services.stack.shields()
    return ShieldsResponse(
        shields=[
            ShieldDescription(
                identifier=shield.identifier,
                provider_id=shield.provider_id,
                params=dict(shield.params),
                provider_resource_id=shield.provider_resource_id,
            )
            for shield in found
        ]
    )


ENDPOINTS = (
    Endpoint(
        "GET",
        "/v1/shields",
        shields,
        action=Action.GET_SHIELDS,
        tags=("catalogue",),
        summary="The shields that can check questions and answers",
        response=ShieldsResponse,
    ),
)
