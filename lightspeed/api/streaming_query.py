"""POST /v1/streaming_query: the events of a Turn as they happen."""

import json
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import asdict
from json.encoder import encode_basestring_ascii
from typing import Any
from uuid import UUID

from pydantic import BaseModel, ConfigDict, field_validator
from starlette.responses import StreamingResponse

from lightspeed.api.endpoint import Call, Endpoint
from lightspeed.api.query import ERRORS, QueryRequest, start_turn
from lightspeed.assistant.events import (
    Completed,
    Event,
    Failed,
    Interrupted,
    Started,
    Token,
    ToolCall,
    ToolResult,
)
from lightspeed.assistant.turn import Turn
from lightspeed.errors import Forbidden, NotFound
from lightspeed.identity.actions import Action
from lightspeed.telemetry.metrics import Face


class JSONEvents:
    """Events in the form `data: {"event": ..., "data": ...}`."""

    media_type = "text/event-stream"

    def __init__(self) -> None:
        self._number = 0
        self._speaking = False

    def encode(self, event: Event) -> str:
        data: dict[str, Any]
        match event:
            case Token():
                return self._token(event.text)
            case Started():
                data = {"conversation_id": event.conversation_id, "request_id": event.request_id}
                return _frame("start", data)
            case ToolCall():
                self._speaking = False
                return _frame("tool_call", asdict(event))
            case ToolResult():
                return _frame("tool_result", asdict(event))
            case Completed():
                return self._end(event)
            case Failed():
                error = event.error
                data = {"status_code": error.status, "response": error.response, "cause": error.cause}
                return _frame("error", data)
            case Interrupted():
                return _frame("interrupted", {"request_id": event.request_id})

    def _token(self, text: str) -> str:
        opening = ""
        if not self._speaking:
            self._speaking = True
            opening = f'data: {{"event": "token", "data": {{"id": {self._next()}, "token": ""}}}}\n\n'
        quoted = encode_basestring_ascii(text)
        return f'{opening}data: {{"event": "token", "data": {{"id": {self._next()}, "token": {quoted}}}}}\n\n'

    def _end(self, event: Completed) -> str:
        turn_complete = _frame("turn_complete", {"id": self._next(), "token": event.text})
        data = {
            "referenced_documents": [asdict(document) for document in event.documents],
            "truncated": event.truncated or None,
            "input_tokens": event.usage.input_tokens,
            "output_tokens": event.usage.output_tokens,
        }
        return turn_complete + _frame("end", data, available_quotas={})

    def _next(self) -> int:
        number = self._number
        self._number += 1
        return number


class TextEvents:
    """The answer as plain text, with a line for each tool call and a list of documents at the end."""

    media_type = "text/plain"

    def encode(self, event: Event) -> str:
        match event:
            case Token():
                return event.text
            case ToolCall():
                return f"[Tool Call: {event.name}]\n"
            case ToolResult():
                return "[Tool Result]\n"
            case Failed():
                return f"Status: {event.error.status} - {event.error.response} - {event.error.cause}"
            case Completed():
                lines = [
                    f"{item.doc_title or item.document_id}: {item.doc_url or item.document_id}"
                    for item in event.documents
                ]
                return "\n\n---\n\n" + "\n".join(lines) if lines else ""
            case Interrupted():
                return "\n[Interrupted]"
            case Started():
                return ""


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


async def streaming_query(call: Call[QueryRequest]) -> StreamingResponse:
    turn = start_turn(call, Face.STREAMING_QUERY, stream=True)
    first = await turn.first()
    if isinstance(first, Failed):
        raise first.error
    events = TextEvents() if call.body.media_type == "text/plain" else JSONEvents()
    return StreamingResponse(_encoded(turn, events.encode), media_type=events.media_type)


async def interrupt(call: Call[InterruptRequest]) -> InterruptResponse:
    request_id = call.body.request_id
    turn = call.services.services.assistant.running(request_id)
    if turn is None:
        raise NotFound("Streaming Request", request_id)
    if turn.user_id != call.principal.user_id:
        raise Forbidden(
            f"User {call.principal.user_id} does not own streaming request with ID {request_id}",
            response="User does not have permission to interrupt this streaming request",
        )
    if turn.interrupt():
        message = "Streaming request interrupted"
        return InterruptResponse(request_id=request_id, interrupted=True, message=message)
    message = "Streaming request already completed; nothing to interrupt"
    return InterruptResponse(request_id=request_id, interrupted=False, message=message)


async def _encoded(turn: Turn, encode: Callable[[Event], str]) -> AsyncIterator[bytes]:
    """What has happened since the last write goes out in one write."""
    async for batch in turn.batches():
        yield _joined(batch, encode)


def _joined(batch: Sequence[Event], encode: Callable[[Event], str]) -> bytes:
    text = encode(batch[0]) if len(batch) == 1 else "".join(map(encode, batch))
    return text.encode("utf-8", "replace")


def _frame(event: str, data: object, **more: object) -> str:
    return f"data: {json.dumps({'event': event, 'data': data, **more})}\n\n"


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
        errors=(Forbidden, NotFound),
    ),
)
