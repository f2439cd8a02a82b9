"""/v1/turns: going on with a turn that has waited for a person."""

from typing import Any, Literal

from pydantic import BaseModel, Field

from lightspeed.api.endpoint import Call, Endpoint
from lightspeed.api.event_stream import EventStream
from lightspeed.api.query import QueryResponse, answer
from lightspeed.api.streaming_query import event_stream
from lightspeed.api.tools import caller
from lightspeed.assistant.request import ResumeRequest
from lightspeed.assistant.turn import Turn
from lightspeed.errors import (
    BadRequest,
    Conflict,
    Gone,
    ModelQuotaExceeded,
    ModelRefused,
    NotFound,
    PromptTooLong,
    ProviderUnavailable,
    StorageError,
)
from lightspeed.identity.actions import Action
from lightspeed.telemetry.metrics import Face

_TAGS = ("query",)
_ERRORS = (
    BadRequest,
    NotFound,
    Conflict,
    Gone,
    PromptTooLong,
    ModelQuotaExceeded,
    StorageError,
    ModelRefused,
    ProviderUnavailable,
)


class ResumeQuery(BaseModel):
    media_type: Literal["application/json", "text/plain"] | None = Field(
        None, description="The form of the stream, as in a question."
    )


async def resume(call: Call) -> QueryResponse:
    return await answer(_resumed(call, Face.QUERY, stream=False))


async def resume_stream(call: Call[None, ResumeQuery]) -> EventStream:
    turn = _resumed(call, Face.STREAMING_QUERY, stream=True)
    return await event_stream(call, turn, call.query.media_type)


def _resumed(call: Call[Any, Any], face: Face, *, stream: bool) -> Turn:
    assistant = call.services.services.assistant
    request = ResumeRequest(
        request_id=call.path["request_id"],
        user_id=call.principal.user_id,
        face=face,
        stream=stream,
        caller=caller(call) if assistant.uses_tools else None,
    )
    turn: Turn = assistant.resume(request)
    return turn


ENDPOINTS = (
    Endpoint(
        "POST",
        "/v1/turns/{request_id}/resume",
        resume,
        action=Action.QUERY,
        tags=_TAGS,
        summary="Get the answer of a question whose tool calls have been decided",
        description="Takes no body. The headers for MCP servers are those of this request.",
        response=QueryResponse,
        errors=_ERRORS,
    ),
    Endpoint(
        "POST",
        "/v1/turns/{request_id}/resume/stream",
        resume_stream,
        action=Action.STREAMING_QUERY,
        tags=_TAGS,
        summary="Read the rest of an answer whose tool calls have been decided, as it is made",
        description="Takes no body. The headers for MCP servers are those of this request.",
        query=ResumeQuery,
        media_types=("text/event-stream", "text/plain"),
        errors=_ERRORS,
    ),
)
