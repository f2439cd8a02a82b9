"""Version 2 of the conversation routes: one's own conversations only."""

from datetime import UTC, datetime
from typing import Any

from pydantic import BaseModel, Field

from lightspeed.api.conversation_history import (
    ConversationDeleteResponse,
    ConversationResponse,
    ConversationsQuery,
    ConversationUpdateRequest,
    ConversationUpdateResponse,
    erase,
    history,
    listed,
    rename,
    requested_id,
)
from lightspeed.api.endpoint import Call, Endpoint
from lightspeed.errors import BadRequest, NotFound, StorageError
from lightspeed.identity.actions import Action
from lightspeed.storage.records import Conversation, StoredTurn

_TAGS = ("conversations_v2",)
_PATH = "/v2/conversations/{conversation_id}"


class ConversationData(BaseModel):
    """A conversation without its turns."""

    conversation_id: str
    topic_summary: str | None
    last_message_timestamp: float = Field(description="Seconds since 1970 in UTC.")


class ConversationsListResponseV2(BaseModel):
    conversations: list[ConversationData]


async def list_conversations(call: Call[None, ConversationsQuery]) -> ConversationsListResponseV2:
    _require_history(call)
    if not call.services.services.history_kept:
        return ConversationsListResponseV2(conversations=[])
    found = await listed(call, call.principal.user_id)
    return ConversationsListResponseV2(conversations=[_data(conversation) for conversation in found])


async def get_conversation(call: Call) -> ConversationResponse:
    conversation = await _existing(call)
    return await history(call, conversation.id, _question)


async def update_conversation(call: Call[ConversationUpdateRequest]) -> ConversationUpdateResponse:
    conversation = await _existing(call)
    return await rename(call, conversation.id, now=datetime.now(UTC))


async def delete_conversation(call: Call) -> ConversationDeleteResponse:
    conversation_id = requested_id(call)
    _require_history(call)
    return await erase(call, conversation_id, await _own(call, conversation_id))


async def _existing(call: Call[Any]) -> Conversation:
    conversation_id = requested_id(call)
    _require_history(call)
    kept = call.services.services.history_kept
    conversation = await _own(call, conversation_id) if kept else None
    if conversation is None:
        raise NotFound("Conversation", conversation_id)
    return conversation


async def _own(call: Call[Any], conversation_id: str) -> Conversation | None:
    found: Conversation | None = await call.services.services.recorder.find(conversation_id)
    return found if found is not None and found.user_id == call.principal.user_id else None


def _require_history(call: Call[Any, Any]) -> None:
    if not call.services.services.history_configured:
        raise StorageError(
            "Conversation cache is not configured or unavailable.",
            response="Conversation cache not configured",
        )


def _question(turn: StoredTurn) -> str:
    return turn.query


def _data(conversation: Conversation) -> ConversationData:
    return ConversationData(
        conversation_id=conversation.id,
        topic_summary=conversation.topic_summary,
        last_message_timestamp=conversation.last_message_at.timestamp(),
    )


ENDPOINTS = (
    Endpoint(
        "GET",
        "/v2/conversations",
        list_conversations,
        action=Action.LIST_CONVERSATIONS,
        tags=_TAGS,
        summary="List your conversations, newest first",
        query=ConversationsQuery,
        response=ConversationsListResponseV2,
        errors=(BadRequest, NotFound, StorageError),
    ),
    Endpoint(
        "GET",
        _PATH,
        get_conversation,
        action=Action.GET_CONVERSATION,
        tags=_TAGS,
        summary="Read one of your conversations",
        response=ConversationResponse,
        errors=(BadRequest, NotFound, StorageError),
    ),
    Endpoint(
        "PUT",
        _PATH,
        update_conversation,
        action=Action.UPDATE_CONVERSATION,
        tags=_TAGS,
        summary="Rename one of your conversations, which makes it the newest",
        request=ConversationUpdateRequest,
        response=ConversationUpdateResponse,
        errors=(BadRequest, NotFound, StorageError),
    ),
    Endpoint(
        "DELETE",
        _PATH,
        delete_conversation,
        action=Action.DELETE_CONVERSATION,
        tags=_TAGS,
        summary="Delete one of your conversations and all that is kept of it",
        response=ConversationDeleteResponse,
        errors=(BadRequest, StorageError),
    ),
)
