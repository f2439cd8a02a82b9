"""GET /metrics, for Prometheus."""

from anyio import to_thread
from starlette.responses import Response

from lightspeed.api.endpoint import Call, Endpoint
from lightspeed.identity.actions import Action


async def metrics(call: Call) -> Response:
    registry = call.services.metrics
    return Response(await to_thread.run_sync(registry.exposition), media_type=registry.content_type)


ENDPOINTS = (
    Endpoint(
        "GET",
        "/metrics",
        metrics,
        action=Action.GET_METRICS,
        tags=("health",),
        summary="Counters and durations",
        media_types=("text/plain",),
    ),
)
