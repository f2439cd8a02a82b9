"""What both versions of the conversation routes share: ids, the history on the wire, renaming, deletion."""

from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from lightspeed.api.endpoint import Call
from lightspeed.api.query import ReferencedDocumentModel, ToolCallSummary, ToolResultSummary
from lightspeed.errors import BadRequest, NotFound
from lightspeed.storage.identifiers import normalize_conversation_id
from lightspeed.storage.records import Conversation, StoredTurn

_INTERRUPTED = "You interrupted this request."
_EXAMPLE_ID = "8dcc36809482ff48aa517a215f402f2de6861b7f5637e7fc"


class ConversationsQuery(BaseModel):
    """Which conversations are listed; without any of these all are."""

    limit: int | None = Field(None, ge=1, le=1000, description="At most so many.")
    after: str | None = Field(None, description="The page after the conversation with this id.")
    search: str | None = Field(
        None, min_length=1, max_length=200, description="Text in the topic, a question or an answer."
    )


class Message(BaseModel):
    content: str
    type: Literal["user", "assistant", "system", "developer"]
    referenced_documents: list[ReferencedDocumentModel] | None = None


class ConversationTurn(BaseModel):
    """A question, its answer, and what the model did for it. Times are in UTC."""

    messages: list[Message]
    tool_calls: list[ToolCallSummary]
    tool_results: list[ToolResultSummary]
    provider: str
    model: str
    started_at: datetime
    completed_at: datetime


class ConversationResponse(BaseModel):
    """A conversation with its turns, oldest first."""

    conversation_id: str = Field(examples=[_EXAMPLE_ID])
    chat_history: list[ConversationTurn]


class ConversationUpdateRequest(BaseModel):
    model_config = ConfigDict(extra="forbid")

    topic_summary: str = Field(min_length=1, max_length=1000, examples=["Restoring backups"])


class ConversationUpdateResponse(BaseModel):
    conversation_id: str = Field(examples=[_EXAMPLE_ID])
    success: bool
    message: str = Field(examples=["Topic summary updated successfully"])


class ConversationDeleteResponse(BaseModel):
    deleted: bool
    conversation_id: str = Field(examples=[_EXAMPLE_ID])
    response: str
    success: bool = Field(deprecated=True, description="The same as `deleted`.")


def stored_id(value: str) -> str:
    """The stored form of an id in any accepted spelling. Raises BadRequest."""
    normalized = normalize_conversation_id(value)
    if normalized is None:
        raise BadRequest(
            f"The conversation ID {value} has invalid format.", response="Invalid conversation ID format"
        )
    return normalized


def requested_id(call: Call[Any, Any]) -> str:
    """The stored form of the id in the path. Raises BadRequest."""
    return stored_id(call.path["conversation_id"])


async def listed(call: Call[None, ConversationsQuery], user_id: str | None) -> list[Conversation]:
    """The asked-for page of one user's conversations, or with None of everyone's, newest first.

    Raises BadRequest, NotFound and StorageError.
    """
    query = call.query
    after = None if query.after is None else stored_id(query.after)
    found: list[Conversation] = await call.services.services.conversations.newest(
        user_id, limit=query.limit, after=after, search=query.search
    )
    return found


async def history(
    call: Call[Any, Any], conversation_id: str, content: Callable[[StoredTurn], str]
) -> ConversationResponse:
    """A conversation as it was held; `content` makes the message of the user from a turn.

    Turns of which nothing was kept are left out. Raises NotFound without any other, and StorageError.
    """
    turns = await call.services.services.conversations.turns(conversation_id)
    kept = [_turn(turn, content(turn)) for turn in turns if _was_kept(turn)]
    if not kept:
        raise NotFound("Conversation", conversation_id)
    return ConversationResponse(conversation_id=conversation_id, chat_history=kept)


async def rename(
    call: Call[ConversationUpdateRequest], conversation_id: str, *, now: datetime | None = None
) -> ConversationUpdateResponse:
    """Name a conversation; `now` makes it the newest. Raises NotFound and StorageError."""
    conversations = call.services.services.conversations
    if not await conversations.rename(conversation_id, call.body.topic_summary, now=now):
        raise NotFound("Conversation", conversation_id)
    return ConversationUpdateResponse(
        conversation_id=conversation_id, success=True, message="Topic summary updated successfully"
    )


async def erase(
    call: Call[Any, Any], conversation_id: str, found: Conversation | None
) -> ConversationDeleteResponse:
    """Remove a conversation wherever it is kept; `found` None says that there is none. Raises StorageError."""
    erasure = call.services.services.erasure
    if found is not None:
        deleted = await erasure.conversation(conversation_id)
    else:
        # Its first turn may wait for a person.
        deleted = await erasure.paused_conversation(conversation_id, call.principal.user_id)
    return ConversationDeleteResponse(
        deleted=deleted,
        conversation_id=conversation_id,
        response="Conversation deleted successfully" if deleted else "Conversation not found",
        success=deleted,
    )


def _was_kept(turn: StoredTurn) -> bool:
    return bool(turn.query or turn.answer or turn.attachments or turn.error)


def _turn(turn: StoredTurn, question: str) -> ConversationTurn:
    return ConversationTurn(
        messages=[
            Message(content=question, type="user"),
            Message(
                content=_answer(turn),
                type="assistant",
                referenced_documents=_models(ReferencedDocumentModel, turn.referenced_documents) or None,
            ),
        ],
        tool_calls=_models(ToolCallSummary, turn.tool_calls),
        tool_results=_models(ToolResultSummary, turn.tool_results),
        provider=turn.provider,
        model=turn.model,
        started_at=turn.started_at,
        completed_at=turn.completed_at,
    )


def _answer(turn: StoredTurn) -> str:
    if turn.status == "interrupted" and not turn.answer:
        return _INTERRUPTED
    return turn.answer


def _models[T: BaseModel](model: type[T], values: Sequence[dict[str, Any]]) -> list[T]:
    return [model.model_validate(value) for value in values]
