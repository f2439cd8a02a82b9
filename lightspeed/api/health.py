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
    """`providers` are those that are down, `impacts` everything that is missing while questions are answered."""

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
    services = runtime.services
    down = [
        ProviderHealth(provider_id=found.provider_id, status=found.status, message=found.message)
        for found in await services.stack.providers_down()
    ]
    if refusal := await services.refusal():
        return model_response(Readiness(ready=False, reason=refusal, providers=down), 503)
    impacts = [
        Impact(component=component, message=message) for component, message in await services.impacts()
    ]
    return model_response(Readiness(ready=True, reason=_reason(impacts), providers=down, impacts=impacts))


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
        summary="Whether questions can be answered; 503 while models load, and while no model can be asked",
        response=Readiness,
    ),
)
