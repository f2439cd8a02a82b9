"""POST /v1/streaming_query: the events of a Turn as they happen."""

from typing import Any
from uuid import UUID

from pydantic import BaseModel, ConfigDict, field_validator

from lightspeed.api.endpoint import Call, Endpoint
from lightspeed.api.event_stream import EventStream, encoded
from lightspeed.api.query import ERRORS, QueryRequest, start_turn
from lightspeed.api.stream_events import JSONEvents, TextEvents
from lightspeed.assistant.events import Failed
from lightspeed.assistant.turn import Turn
from lightspeed.errors import Forbidden, NotFound, StorageError
from lightspeed.identity.actions import Action
from lightspeed.telemetry.metrics import Face


class InterruptRequest(BaseModel):
    """Names a running stream."""

    model_config = ConfigDict(extra="forbid")

    request_id: str

    @field_validator("request_id")
    @classmethod
    def _is_a_request_id(cls, value: str) -> str:
        try:
            return str(UUID(value))
        except ValueError:
            raise ValueError(f"Improper request ID {value}") from None


class InterruptResponse(BaseModel):
    request_id: str
    interrupted: bool
    message: str


async def streaming_query(call: Call[QueryRequest]) -> EventStream:
    turn = start_turn(call, Face.STREAMING_QUERY, stream=True)
    return await event_stream(call, turn, call.body.media_type)


async def event_stream(call: Call[Any, Any], turn: Turn, media_type: str | None) -> EventStream:
    """The events of a Turn. Raises the error of one that could not begin."""
    first = await turn.first()
    if isinstance(first, Failed):
        raise first.error
    if media_type == "text/plain":
        return EventStream(encoded(turn, TextEvents()), media_type=TextEvents.media_type)
    heartbeat = call.services.configuration.service.heartbeat_seconds
    return EventStream(encoded(turn, JSONEvents()), media_type=JSONEvents.media_type, heartbeat=heartbeat)


async def interrupt(call: Call[InterruptRequest]) -> InterruptResponse:
    request_id, user_id = call.body.request_id, call.principal.user_id
    outcome = await call.services.services.interruptions.interrupt(request_id, user_id)
    if outcome is None:
        raise NotFound("Streaming Request", request_id)
    if outcome == "foreign":
        raise Forbidden(
            f"User {user_id} does not own streaming request with ID {request_id}",
            response="User does not have permission to interrupt this streaming request",
        )
    if outcome == "interrupted":
        message = "Streaming request interrupted"
        return InterruptResponse(request_id=request_id, interrupted=True, message=message)
    message = "Streaming request already completed; nothing to interrupt"
    return InterruptResponse(request_id=request_id, interrupted=False, message=message)


ENDPOINTS = (
    Endpoint(
        "POST",
        "/v1/streaming_query",
        streaming_query,
        action=Action.STREAMING_QUERY,
        tags=("query",),
        summary="Ask a question and read the answer as it is made",
        request=QueryRequest,
        media_types=("text/event-stream", "text/plain"),
        errors=ERRORS,
    ),
    Endpoint(
        "POST",
        "/v1/streaming_query/interrupt",
        interrupt,
        action=Action.STREAMING_QUERY,
        tags=("query",),
        summary="Stop an answer that is being made",
        request=InterruptRequest,
        response=InterruptResponse,
        errors=(Forbidden, NotFound, StorageError),
    ),
)
