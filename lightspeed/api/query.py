"""POST /v1/query: one question, one answer."""

import logging
from datetime import datetime
from typing import Any, Literal, Self
from uuid import uuid4

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from lightspeed.api.endpoint import Call, Endpoint
from lightspeed.api.tools import caller
from lightspeed.assistant.events import (
    ApprovalRequired,
    Completed,
    Failed,
    Interrupted,
    Started,
    ToolCall,
    ToolResult,
)
from lightspeed.assistant.record import chunk_fields
from lightspeed.assistant.request import Attachment, TurnRequest
from lightspeed.assistant.turn import Turn
from lightspeed.configuration.service import LimitsConfiguration
from lightspeed.errors import (
    Conflict,
    Forbidden,
    ModelQuotaExceeded,
    ModelRefused,
    NotFound,
    PromptTooLong,
    ProviderUnavailable,
    StorageError,
    TooLarge,
    Unprocessable,
)
from lightspeed.identity.actions import Action
from lightspeed.retrieval.okp.request import portal_query
from lightspeed.storage.identifiers import normalize_conversation_id
from lightspeed.telemetry.metrics import Face

logger = logging.getLogger(__name__)

ATTACHMENT_TYPES = (
    "alert",
    "api object",
    "configuration",
    "error message",
    "event",
    "log",
    "stack trace",
)
CONTENT_TYPES = ("text/plain", "application/json", "application/yaml", "application/xml")
ERRORS = (
    Forbidden,
    NotFound,
    Conflict,
    PromptTooLong,
    TooLarge,
    Unprocessable,
    ModelQuotaExceeded,
    StorageError,
    ModelRefused,
    ProviderUnavailable,
)


class AttachmentModel(BaseModel):
    """Something that the question is about: a log, an event, a piece of configuration."""

    model_config = ConfigDict(extra="forbid")

    attachment_type: str = Field(description="One of: " + ", ".join(ATTACHMENT_TYPES), examples=["log"])
    content_type: str = Field(description="One of: " + ", ".join(CONTENT_TYPES), examples=["text/plain"])
    content: str = Field(description="The text itself.")


class SolrModel(BaseModel):
    """How the Offline Knowledge Portal is searched."""

    model_config = ConfigDict(extra="forbid")

    mode: str | None = Field(None, pattern="^(semantic|hybrid|lexical)$")
    filters: dict[str, Any] | None = None

    @model_validator(mode="before")
    @classmethod
    def _bare_filters(cls, value: Any) -> Any:
        if isinstance(value, dict) and value and not value.keys() & {"mode", "filters"}:
            logger.warning("A request gives `solr` in its old form; what is in it belongs under `filters`")
            return {"filters": value}
        return value


class QueryRequest(BaseModel):
    """A question, and how it shall be answered."""

    model_config = ConfigDict(
        extra="forbid", json_schema_extra={"examples": [{"query": "How do I add my own documents?"}]}
    )

    query: str = Field(description="The question.")
    conversation_id: str | None = Field(None, description="Continues this conversation.")
    provider: str | None = Field(None, description="Model provider; needs `model`.")
    model: str | None = Field(None, description="Model; needs `provider`.")
    system_prompt: str | None = Field(None, description="Replaces the service's system prompt.")
    attachments: list[AttachmentModel] | None = Field(None, description="What the question is about.")
    no_tools: bool | None = Field(False, description="Keeps tools from the model.")
    generate_topic_summary: bool | None = Field(True, description="Names a new conversation.")
    media_type: str | None = Field(None, description="`application/json` or `text/plain`.")
    vector_store_ids: list[str] | None = Field(None, description="Narrows the knowledge stores.")
    shield_ids: list[str] | None = Field(None, description="Narrows the shields; an empty list means none.")
    solr: SolrModel | None = None

    @field_validator("conversation_id")
    @classmethod
    def _known_form(cls, value: str | None) -> str | None:
        if not value:
            return None
        normalized = normalize_conversation_id(value)
        if normalized is None:
            raise ValueError(f"Improper conversation ID '{value}'")
        return normalized

    @field_validator("media_type")
    @classmethod
    def _known_media_type(cls, value: str | None) -> str | None:
        if value and value not in ("application/json", "text/plain"):
            raise ValueError("media_type must be either 'application/json' or 'text/plain'")
        return value

    @model_validator(mode="after")
    def _model_and_provider(self) -> Self:
        if self.provider and not self.model:
            raise ValueError("Model must be specified if provider is specified")
        if self.model and not self.provider:
            raise ValueError("Provider must be specified if model is specified")
        return self


class RAGChunk(BaseModel):
    content: str
    source: str | None = None
    score: float | None = None
    attributes: dict[str, Any] | None = None


class ReferencedDocumentModel(BaseModel):
    doc_url: str | None = None
    doc_title: str | None = None
    source: str | None = None
    document_id: str | None = None


class ToolCallSummary(BaseModel):
    id: str
    name: str
    args: dict[str, Any]
    type: str


class ToolResultSummary(BaseModel):
    id: str
    status: str
    content: str
    type: str
    round: int


class WantedApprovalModel(BaseModel):
    """A call of a tool that waits for a person."""

    id: str
    server_label: str
    tool_name: str
    arguments: dict[str, Any]
    expires_at: datetime


class RequiredAction(BaseModel):
    """What a person must do before the turn `request_id` can be resumed."""

    type: Literal["mcp_approval"] = "mcp_approval"
    request_id: str
    approvals: list[WantedApprovalModel]


def _is_none(value: object) -> bool:
    return value is None


class QueryResponse(BaseModel):
    """The answer, what it rests on, and what it cost; or what a person must do before there is one."""

    conversation_id: str
    response: str
    rag_chunks: list[RAGChunk] = []
    referenced_documents: list[ReferencedDocumentModel] = []
    truncated: bool = False
    input_tokens: int = 0
    output_tokens: int = 0
    available_quotas: dict[str, int] = {}
    tool_calls: list[ToolCallSummary] = []
    tool_results: list[ToolResultSummary] = []
    status: Literal["requires_action"] | None = Field(
        None, description="Only there if the answer waits for a person.", exclude_if=_is_none
    )
    required_action: RequiredAction | None = Field(
        None, description="Only there if the answer waits for a person.", exclude_if=_is_none
    )


async def query(call: Call[QueryRequest]) -> QueryResponse:
    turn = start_turn(call, Face.QUERY, stream=False)
    return await answer(turn)


def start_turn(call: Call[QueryRequest], face: Face, *, stream: bool) -> Turn:
    """Begin the Turn of a request. Raises what can be said of the request alone."""
    body, services = call.body, call.services.services
    if body.provider is not None and not call.permits(Action.MODEL_OVERRIDE):
        raise _model_override_denied()
    _check_limits(body, services.configuration.service.limits)
    _check_shields(body, call)
    _check_attachments(body.attachments or [])
    request = TurnRequest(
        request_id=str(uuid4()),
        user_id=call.principal.user_id,
        query=body.query,
        face=face,
        stream=stream,
        conversation_id=body.conversation_id,
        provider=body.provider,
        model=body.model,
        system_prompt=body.system_prompt or None,
        attachments=tuple(
            Attachment(item.attachment_type, item.content_type, item.content)
            for item in body.attachments or ()
        ),
        no_tools=bool(body.no_tools),
        vector_store_ids=None if body.vector_store_ids is None else tuple(body.vector_store_ids),
        portal=portal_query(body.solr.model_dump() if body.solr else None),
        generate_topic_summary=bool(body.generate_topic_summary),
        may_continue_others=body.conversation_id is not None
        and call.permits(Action.QUERY_OTHER_CONVERSATIONS),
        caller=caller(call) if services.assistant.uses_tools else None,
    )
    turn: Turn = services.assistant.start(request)
    return turn


async def answer(turn: Turn) -> QueryResponse:
    """The fold of a Turn's events."""
    conversation_id = ""
    calls: list[ToolCallSummary] = []
    results: list[ToolResultSummary] = []
    async for event in turn.events():
        match event:
            case Started():
                conversation_id = event.conversation_id
                for told in event.told:
                    _add(told, calls, results)
            case ToolCall() | ToolResult():
                _add(event, calls, results)
            case Failed():
                raise event.error
            case Interrupted():
                raise ProviderUnavailable("The request was interrupted.", response="Interrupted")
            case ApprovalRequired():
                return _paused(conversation_id, event)
            case Completed():
                return _completed(conversation_id, event, calls, results)
    raise RuntimeError("A turn ended without an ending")


def _add(
    event: ToolCall | ToolResult, calls: list[ToolCallSummary], results: list[ToolResultSummary]
) -> None:
    if isinstance(event, ToolCall):
        calls.append(ToolCallSummary(id=event.id, name=event.name, args=event.args, type=event.type))
        return
    results.append(
        ToolResultSummary(
            id=event.id, status=event.status, content=event.content, type=event.type, round=event.round
        )
    )


def _paused(conversation_id: str, event: ApprovalRequired) -> QueryResponse:
    """Everything that has been made so far comes with the answer."""
    approvals = [
        WantedApprovalModel(
            id=each.id,
            server_label=each.server_label,
            tool_name=each.tool_name,
            arguments=each.arguments,
            expires_at=each.expires_at,
        )
        for each in event.approvals
    ]
    return QueryResponse(
        conversation_id=conversation_id,
        response="",
        status="requires_action",
        required_action=RequiredAction(request_id=event.request_id, approvals=approvals),
    )


def _completed(
    conversation_id: str, event: Completed, calls: list[ToolCallSummary], results: list[ToolResultSummary]
) -> QueryResponse:
    return QueryResponse(
        conversation_id=conversation_id,
        response=event.text.strip(),
        rag_chunks=[RAGChunk(**chunk_fields(chunk)) for chunk in event.chunks],
        referenced_documents=[
            ReferencedDocumentModel(
                doc_url=item.doc_url,
                doc_title=item.doc_title,
                source=item.source,
                document_id=item.document_id,
            )
            for item in event.documents
        ],
        truncated=event.truncated,
        input_tokens=event.usage.input_tokens,
        output_tokens=event.usage.output_tokens,
        available_quotas=dict(event.available_quotas),
        tool_calls=calls,
        tool_results=results,
    )


def _model_override_denied() -> Forbidden:
    return Forbidden(
        "User lacks model_override permission required to override model/provider.",
        response="This instance does not permit overriding model/provider in the query request (missing permission: "
        "model_override). Please remove the model and provider fields from your request.",
    )


def _check_limits(body: QueryRequest, limits: LimitsConfiguration) -> None:
    if len(body.query) > limits.max_query_characters:
        raise TooLarge(f"The query has more than {limits.max_query_characters} characters.")
    attachments = body.attachments or []
    if len(attachments) > limits.max_attachments:
        raise TooLarge(f"There are more than {limits.max_attachments} attachments.")
    if any(len(item.content) > limits.max_attachment_characters for item in attachments):
        raise TooLarge(f"An attachment has more than {limits.max_attachment_characters} characters.")


def _check_shields(body: QueryRequest, call: Call[QueryRequest]) -> None:
    if body.shield_ids is None:
        return
    customization = call.services.configuration.customization
    if customization is not None and customization.disable_shield_ids_override:
        raise Unprocessable(
            "This instance does not support customizing shield IDs in the query request "
            "(disable_shield_ids_override is set). Please remove the shield_ids field from your request.",
            response="Shield IDs customization is disabled",
        )
    if body.shield_ids:
        raise NotFound("Shield" if len(body.shield_ids) == 1 else "Shields", ", ".join(body.shield_ids))


def _check_attachments(attachments: list[AttachmentModel]) -> None:
    for item in attachments:
        if item.attachment_type not in ATTACHMENT_TYPES:
            raise Unprocessable(
                f"Invalid attachment type {item.attachment_type}: must be one of {', '.join(ATTACHMENT_TYPES)}"
            )
        if item.content_type not in CONTENT_TYPES:
            raise Unprocessable(
                f"Invalid attachment content type {item.content_type}: must be one of {', '.join(CONTENT_TYPES)}"
            )


ENDPOINTS = (
    Endpoint(
        "POST",
        "/v1/query",
        query,
        action=Action.QUERY,
        tags=("query",),
        summary="Ask a question",
        request=QueryRequest,
        response=QueryResponse,
        errors=ERRORS,
    ),
)
