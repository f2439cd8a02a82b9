"""The events of a Turn on the wire: as server-sent events, or as plain text."""

import json
from dataclasses import asdict
from json.encoder import encode_basestring_ascii
from typing import Any, Protocol

from pydantic_core import from_json, to_json

from lightspeed.assistant.events import (
    ApprovalRequired,
    Completed,
    Event,
    Failed,
    Interrupted,
    Started,
    Token,
    ToolCall,
    ToolResult,
    ToolsMissing,
    WantedApproval,
)
from lightspeed.assistant.generation import LISTING
from lightspeed.assistant.tool_calls import APPROVAL_REQUEST, APPROVAL_RESPONSE
from lightspeed.retrieval.references import ReferencedDocument

_NOT_IN_TEXT = frozenset({LISTING, APPROVAL_REQUEST, APPROVAL_RESPONSE})


class StreamEvents(Protocol):
    """One form of a stream, for one Turn: it counts, and knows what has been said."""

    media_type: str

    def encode(self, event: Event) -> str: ...


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
            case ToolsMissing():
                return _frame("warning", asdict(event))
            case ApprovalRequired():
                approvals = [approval_fields(approval) for approval in event.approvals]
                return _frame("approval_required", {"request_id": event.request_id, "approvals": approvals})

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
        return turn_complete + _frame("end", data, available_quotas=dict(event.available_quotas))

    def _next(self) -> int:
        number = self._number
        self._number += 1
        return number


class TextEvents:
    """The answer as plain text, with a line for each tool call and a list of documents at the end.

    What servers list and what a person decides is not in it.
    """

    media_type = "text/plain"

    def __init__(self) -> None:
        self._last = "\n"

    def encode(self, event: Event) -> str:
        match event:
            case Token():
                self._last = event.text
                return event.text
            case ToolCall():
                return (
                    ""
                    if event.type in _NOT_IN_TEXT
                    else self._line(f"[Tool Call: {_one_line(event.name)}]\n")
                )
            case ToolResult():
                return "" if event.type in _NOT_IN_TEXT else self._line("[Tool Result]\n")
            case ToolsMissing():
                return self._line(f"[Tools missing: {_one_line(event.server_label)}]\n")
            case ApprovalRequired():
                wanted = [
                    f"[Approval required: {_one_line(each.tool_name)}, {each.id}]\n"
                    for each in event.approvals
                ]
                return self._line("".join(wanted))
            case Failed():
                error = event.error
                return self._line(f"Status: {error.status} - {error.response} - {error.cause}")
            case Completed():
                lines = [_document_line(document) for document in event.documents]
                return "\n\n---\n\n" + "\n".join(lines) if lines else ""
            case Interrupted():
                return self._line("[Interrupted]")
            case Started():
                return ""

    def _line(self, text: str) -> str:
        opening = "" if self._last.endswith("\n") else "\n"
        self._last = text
        return opening + text


def approval_fields(approval: WantedApproval) -> dict[str, Any]:
    """An approval that is wanted, as clients see it."""
    return {
        "id": approval.id,
        "server_label": approval.server_label,
        "tool_name": approval.tool_name,
        "arguments": approval.arguments,
        "expires_at": approval.expires_at.isoformat().replace("+00:00", "Z"),
    }


def _document_line(document: ReferencedDocument) -> str:
    """Any of title, id and address may be missing, but not all."""
    title, identifier, address = document.doc_title, document.document_id, document.doc_url
    return _one_line(f"{title or identifier or address}: {address or identifier or title}")


def _one_line(name: str) -> str:
    """A name that a model or a server has given, without what would break the line."""
    return "".join(character if character.isprintable() else " " for character in name)


def _frame(event: str, data: object, **more: object) -> str:
    frame = {"event": event, "data": data, **more}
    try:
        return f"data: {json.dumps(frame, allow_nan=False)}\n\n"
    except ValueError:
        # Models write NaN into arguments, which is no JSON.
        return f"data: {json.dumps(from_json(to_json(frame, inf_nan_mode='null')))}\n\n"
