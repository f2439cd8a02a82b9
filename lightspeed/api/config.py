"""GET /v1/config."""

from typing import Any

from pydantic import BaseModel

from lightspeed.api.endpoint import Call, Endpoint
from lightspeed.configuration.loading import masked
from lightspeed.identity.actions import Action


class ConfigurationResponse(BaseModel):
    """The configuration of the service as it is in use; secrets are masked."""

    configuration: dict[str, Any]


async def config(call: Call) -> ConfigurationResponse:
    return ConfigurationResponse(configuration=masked(call.services.configuration))


ENDPOINTS = (
    Endpoint(
        "GET",
        "/v1/config",
        config,
        action=Action.GET_CONFIG,
        tags=("catalogue",),
        summary="The configuration in use, without secrets",
        response=ConfigurationResponse,
    ),
)
