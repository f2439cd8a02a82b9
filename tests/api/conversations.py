"""Conversations that are there before a test begins."""

from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

from lightspeed.storage.identifiers import new_conversation_id
from lightspeed.storage.records import TurnRecord
from tests.api.conftest import Service, stored
from tests.storage.turns import a_turn

BEGINNING = datetime(2030, 1, 2, 3, 4, 5, tzinfo=UTC)


def at(minute: int) -> datetime:
    return BEGINNING + timedelta(minutes=minute)


async def conversation(service: Service, user_id: str, *turns: dict[str, Any], **first: Any) -> str:
    """Store a conversation of these turns, or of one; returns its id. `first` changes what all turns have."""
    conversation_id = first.pop("conversation_id", None) or new_conversation_id()
    async with stored(service) as conversations:
        for number, changes in enumerate(turns or ({},)):
            made = turn(conversation_id=conversation_id, user_id=user_id, **(first | changes))
            assert await conversations.record(made, begins=number == 0)
    return conversation_id


def turn(**changes: Any) -> TurnRecord:
    return a_turn(request_id=str(uuid4()), **changes)
