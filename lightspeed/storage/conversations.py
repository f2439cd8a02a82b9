"""Conversations and their turns in the database."""

from dataclasses import fields
from typing import Any

from sqlalchemy import Connection, Table, bindparam, case, func, insert, select
from sqlalchemy.dialects import postgresql, sqlite

from lightspeed.storage import schema
from lightspeed.storage.database import Database
from lightspeed.storage.encoding import storable_text
from lightspeed.storage.identifiers import normalize_conversation_id
from lightspeed.storage.records import Conversation, StoredTurn, TurnRecord

_TURN_COLUMNS = tuple(schema.turns.c.keys())
_FIND = select(schema.conversations).where(schema.conversations.c.id == bindparam("conversation_id"))
_COUNT = select(schema.conversations.c.message_count, schema.conversations.c.user_id).where(
    schema.conversations.c.id == bindparam("conversation_id")
)
_ADD_TURN = insert(schema.turns)
_TURNS = select(schema.turns).where(schema.turns.c.conversation_id == bindparam("conversation_id"))
_OLDEST_FIRST = _TURNS.order_by(schema.turns.c.number)
_NEWEST_FIRST = _TURNS.order_by(schema.turns.c.number.desc()).limit(bindparam("last"))


class Conversations:
    """Finds and records conversations. Ids are in their stored form; all methods raise StorageError."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._add_conversation = _upsert(database.dialect)

    async def get(self, conversation_id: str) -> Conversation | None:
        """The conversation, whoever owns it, or None."""

        def find(connection: Connection) -> Conversation | None:
            row = connection.execute(_FIND, {"conversation_id": conversation_id}).one_or_none()
            return None if row is None else Conversation(**row._mapping)

        return await self._database.read(find)

    async def turns(self, conversation_id: str, last: int | None = None) -> list[StoredTurn]:
        """All turns or the last few, oldest first."""

        def find(connection: Connection) -> list[StoredTurn]:
            parameters = {"conversation_id": conversation_id}
            if last is None:
                rows = connection.execute(_OLDEST_FIRST, parameters).all()
            else:
                rows = connection.execute(_NEWEST_FIRST, parameters | {"last": last}).all()[::-1]
            return [StoredTurn(**row._mapping) for row in rows]

        return await self._database.read(find)

    async def record(self, turn: TurnRecord) -> StoredTurn:
        """Add a turn, and with its first turn the conversation. Returns the turn with its number.

        The whole turn is recorded or nothing of it. Raises ValueError if the id is not in its stored form,
        or if the conversation belongs to another user.
        """
        if normalize_conversation_id(turn.conversation_id) != turn.conversation_id:
            raise ValueError("not the stored form of a conversation id")
        values = {field.name: getattr(turn, field.name) for field in fields(TurnRecord)}

        def add(connection: Connection) -> int:
            number = self._next_number(connection, turn)
            row = {name: values.get(name) for name in _TURN_COLUMNS} | {"number": number}
            connection.execute(_ADD_TURN, row)
            return number

        return StoredTurn(**values, number=await self._database.write(add))

    def _next_number(self, connection: Connection, turn: TurnRecord) -> int:
        conversation = {
            "id": turn.conversation_id,
            "user_id": turn.user_id,
            "created_at": turn.started_at,
            "last_message_at": turn.completed_at,
            "message_count": 1,
            "last_provider": turn.provider,
            "last_model": turn.model,
            "topic_summary": turn.topic_summary,
        }
        connection.execute(self._add_conversation, conversation)
        # The upsert has locked the row, so that nobody else can be given this number.
        number, owner = connection.execute(_COUNT, {"conversation_id": turn.conversation_id}).one()
        if owner != storable_text(turn.user_id):
            raise ValueError("the conversation belongs to another user")
        return int(number)


def _upsert(dialect: str) -> Any:
    table: Table = schema.conversations
    insert_or = (postgresql if dialect == "postgresql" else sqlite).insert(table)
    new, old = insert_or.excluded, table.c
    return insert_or.on_conflict_do_update(
        index_elements=["id"],
        set_={
            "last_message_at": case(
                (new.last_message_at > old.last_message_at, new.last_message_at), else_=old.last_message_at
            ),
            "message_count": old.message_count + 1,
            "last_provider": new.last_provider,
            "last_model": new.last_model,
            "topic_summary": func.coalesce(new.topic_summary, old.topic_summary),
        },
        where=old.user_id == new.user_id,
    )
