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


class Impact(BaseModel):
    """What is missing, although questions are answered."""

    component: str
    message: str


class Readiness(BaseModel):
    ready: bool
    reason: str
    providers: list[ProviderHealth] = []
    impacts: list[Impact] = []


async def liveness(call: Call) -> Liveness:
    return Liveness(alive=True)


async def readiness(call: Call) -> Response:
    runtime = call.services
    if not runtime.ready:
        return model_response(Readiness(ready=False, reason=f"The service is still {runtime.phase}"), 503)
    impacts = [
        Impact(component=component, message=message)
        for component, message in await runtime.services.impacts()
    ]
    return model_response(Readiness(ready=True, reason=_reason(impacts), impacts=impacts))


def _reason(impacts: list[Impact]) -> str:
    if not impacts:
        return "All providers are healthy"
    components = ", ".join(dict.fromkeys(impact.component for impact in impacts))
    return f"Questions are answered, but not everything works: {components}"


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
