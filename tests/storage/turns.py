"""Turns to store."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

from lightspeed.storage.conversations import Conversations
from lightspeed.storage.identifiers import new_conversation_id
from lightspeed.storage.records import Conversation, StoredTurn, TurnRecord

START = datetime(2030, 1, 1, tzinfo=UTC)


def following(turn: TurnRecord, **changes: Any) -> TurnRecord:
    """Another turn of the same conversation."""
    return replace(turn, request_id=str(uuid4()), **changes)


def a_turn(**changes: Any) -> TurnRecord:
    turn = TurnRecord(
        conversation_id=new_conversation_id(),
        request_id=str(uuid4()),
        user_id="alice",
        status="completed",
        provider="acme",
        model="m1",
        query="List nodes",
        answer="Two nodes",
        attachments=[{"attachment_type": "log", "content_type": "text/plain", "content": "line"}],
        tool_calls=[{"id": "c1", "name": "list_nodes", "args": {"zone": "a"}, "type": "mcp_call"}],
        tool_results=[{"id": "c1", "status": "success", "content": "n1", "type": "mcp_call", "round": 1}],
        rag_chunks=[{"content": "A node is", "source": "docs", "score": 0.5, "attributes": {}}],
        referenced_documents=[
            {"doc_url": "https://example.com/a", "doc_title": "A", "source": "docs", "document_id": None}
        ],
        input_tokens=40,
        output_tokens=3,
        error=None,
        started_at=datetime(2030, 1, 2, 3, 4, 5, tzinfo=UTC),
        completed_at=datetime(2030, 1, 2, 3, 4, 9, 123456, tzinfo=UTC),
    )
    return replace(turn, **changes)


async def recorded(conversations: Conversations, *turns: TurnRecord) -> list[StoredTurn]:
    """Record turns, the first of which begins its conversation."""
    found = [await conversations.record(turn, begins=number == 0) for number, turn in enumerate(turns)]
    stored = [turn for turn in found if turn is not None]
    assert len(stored) == len(turns)
    return stored


async def begun(conversations: Conversations, minute: int, **changes: object) -> str:
    """Begin a conversation in that minute; returns its id."""
    at = START + timedelta(minutes=minute)
    [turn] = await recorded(conversations, a_turn(started_at=at, completed_at=at, **changes))
    return turn.conversation_id


def ids(found: list[Conversation]) -> list[str]:
    return [conversation.id for conversation in found]
