"""Is the service alive, and is it ready?"""

from pydantic import BaseModel
from starlette.responses import Response

from lightspeed.api.endpoint import Call, Endpoint, model_response
from lightspeed.identity.actions import Action


class Liveness(BaseModel):
    alive: bool


class ProviderHealth(BaseModel):
    provider_id: str
    status: str
    message: str | None = None


class Readiness(BaseModel):
    ready: bool
    reason: str
    providers: list[ProviderHealth] = []


async def liveness(call: Call) -> Liveness:
    return Liveness(alive=True)


async def readiness(call: Call) -> Response:
    runtime = call.services
    if runtime.ready:
        return model_response(Readiness(ready=True, reason="All providers are healthy"))
    return model_response(Readiness(ready=False, reason=f"The service is still {runtime.phase}"), 503)


ENDPOINTS = (
    Endpoint(
        "GET",
        "/liveness",
        liveness,
        action=Action.INFO,
        tags=("health",),
        summary="Whether the process answers",
        response=Liveness,
    ),
    Endpoint(
        "GET",
        "/readiness",
        readiness,
        action=Action.INFO,
        tags=("health",),
        summary="Whether questions can be answered; 503 while models load",
        response=Readiness,
    ),
)
