"""Version 1 of the conversation routes, on which rights may reach beyond one's own conversations."""

from datetime import datetime
from typing import Any, Literal

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
from lightspeed.assistant.prompt import question
from lightspeed.assistant.request import Attachment
from lightspeed.errors import BadRequest, Forbidden, NotFound, StorageError
from lightspeed.identity.actions import Action
from lightspeed.storage.records import Conversation, StoredTurn

_TAGS = ("conversations_v1",)
_PATH = "/v1/conversations/{conversation_id}"


class ConversationDetails(BaseModel):
    """A conversation without its turns. Times are in UTC."""

    conversation_id: str
    created_at: datetime
    last_message_at: datetime
    message_count: int = Field(description="How many turns it has.")
    last_used_model: str
    last_used_provider: str
    topic_summary: str = Field(description="Empty without a name.")


class ConversationsListResponse(BaseModel):
    conversations: list[ConversationDetails]


async def list_conversations(call: Call[None, ConversationsQuery]) -> ConversationsListResponse:
    everyone = call.permits(Action.LIST_OTHER_CONVERSATIONS)
    found = await listed(call, None if everyone else call.principal.user_id)
    return ConversationsListResponse(conversations=[_details(conversation) for conversation in found])


async def get_conversation(call: Call) -> ConversationResponse:
    conversation = await _existing(call, "read", Action.READ_OTHER_CONVERSATIONS)
    return await history(call, conversation.id, _as_the_model_read_it)


async def update_conversation(call: Call[ConversationUpdateRequest]) -> ConversationUpdateResponse:
    conversation = await _existing(call, "update", Action.QUERY_OTHER_CONVERSATIONS)
    return await rename(call, conversation.id)


async def delete_conversation(call: Call) -> ConversationDeleteResponse:
    conversation_id = requested_id(call)
    found = await _find(call, conversation_id, "delete", Action.DELETE_OTHER_CONVERSATIONS)
    return await erase(call, conversation_id, found)


async def _existing(call: Call[Any], verb: Literal["read", "update"], right: Action) -> Conversation:
    conversation_id = requested_id(call)
    conversation = await _find(call, conversation_id, verb, right)
    if conversation is None:
        raise NotFound("Conversation", conversation_id)
    return conversation


async def _find(
    call: Call[Any], conversation_id: str, verb: Literal["read", "update", "delete"], right: Action
) -> Conversation | None:
    """Raises Forbidden if the conversation is somebody else's and the caller lacks the right to it."""
    found: Conversation | None = await call.services.services.recorder.find(conversation_id)
    user_id = call.principal.user_id
    if found is not None and found.user_id != user_id and not call.permits(right):
        raise Forbidden(
            f"User {user_id} does not have permission to {verb} conversation with ID {conversation_id}"
        )
    return found


def _details(conversation: Conversation) -> ConversationDetails:
    return ConversationDetails(
        conversation_id=conversation.id,
        created_at=conversation.created_at,
        last_message_at=conversation.last_message_at,
        message_count=conversation.message_count,
        last_used_model=conversation.last_model,
        last_used_provider=conversation.last_provider,
        topic_summary=conversation.topic_summary or "",
    )


def _as_the_model_read_it(turn: StoredTurn) -> str:
    return question(turn.query, [Attachment(**item) for item in turn.attachments])


ENDPOINTS = (
    Endpoint(
        "GET",
        "/v1/conversations",
        list_conversations,
        action=Action.LIST_CONVERSATIONS,
        tags=_TAGS,
        summary="List conversations, newest first",
        description="Your own, or with the action `list_other_conversations` everyone's.",
        query=ConversationsQuery,
        response=ConversationsListResponse,
        errors=(BadRequest, NotFound, StorageError),
    ),
    Endpoint(
        "GET",
        _PATH,
        get_conversation,
        action=Action.GET_CONVERSATION,
        tags=_TAGS,
        summary="Read a conversation",
        description="Somebody else's needs the action `read_other_conversations`.",
        response=ConversationResponse,
        errors=(BadRequest, Forbidden, NotFound, StorageError),
    ),
    Endpoint(
        "PUT",
        _PATH,
        update_conversation,
        action=Action.UPDATE_CONVERSATION,
        tags=_TAGS,
        summary="Rename a conversation",
        description="Somebody else's needs the action `query_other_conversations`.",
        request=ConversationUpdateRequest,
        response=ConversationUpdateResponse,
        errors=(BadRequest, Forbidden, NotFound, StorageError),
    ),
    Endpoint(
        "DELETE",
        _PATH,
        delete_conversation,
        action=Action.DELETE_CONVERSATION,
        tags=_TAGS,
        summary="Delete a conversation and all that is kept of it",
        description="Somebody else's needs the action `delete_other_conversations`.",
        response=ConversationDeleteResponse,
        errors=(BadRequest, Forbidden, StorageError),
    ),
)
