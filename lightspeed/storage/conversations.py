"""Conversations and their turns in the database."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass, fields, replace
from datetime import datetime
from typing import Any

from sqlalchemy import (
    ColumnElement,
    Connection,
    Text,
    and_,
    bindparam,
    cast,
    delete,
    func,
    literal,
    select,
    tuple_,
    update,
)

from lightspeed.errors import NotFound, StorageError
from lightspeed.storage import schema
from lightspeed.storage.database import Database
from lightspeed.storage.identifiers import is_conversation_id
from lightspeed.storage.numbering import Numbering, RecordedAlready
from lightspeed.storage.records import Conversation, Exchange, StoredTurn, TurnRecord
from lightspeed.storage.search import mentioning

_conversations, _turns = schema.conversations, schema.turns
_AT_ONCE = 200
_FIND = select(_conversations).where(_conversations.c.id == bindparam("conversation_id"))
_TURNS = select(_turns).where(_turns.c.conversation_id == bindparam("conversation_id"))
_OLDEST_FIRST = _TURNS.order_by(_turns.c.number)
_EXCHANGES = (
    select(_turns.c.query, _turns.c.attachments, _turns.c.answer)
    .where(_turns.c.conversation_id == bindparam("conversation_id"))
    .order_by(_turns.c.number.desc())
    .limit(bindparam("last"))
)
# Only those are read whose text may hold the name: results can be long.
_TOOL_USES = (
    select(_turns.c.tool_calls, _turns.c.tool_results)
    .where(
        _turns.c.conversation_id == bindparam("conversation_id"),
        cast(_turns.c.tool_calls, Text).like(bindparam("tool_name", type_=Text)),
    )
    .order_by(_turns.c.number)
)
# In the order of last messages.
_PLACE = tuple_(_conversations.c.last_message_at, _conversations.c.id)
_BY_REQUEST = select(_turns).where(_turns.c.request_id == bindparam("request_id"))
_NO_CONTENT: dict[str, Any] = {
    "query": "",
    "answer": "",
    "attachments": [],
    "tool_calls": [],
    "tool_results": [],
    "rag_chunks": [],
    "referenced_documents": [],
    "error": None,
}


@dataclass(frozen=True, slots=True)
class Held:
    """What there is of a user: whole conversations, and turns in those of others."""

    conversations: int
    turns: int


@dataclass(frozen=True, slots=True)
class Erased:
    """What an erasure has taken away: whole conversations by id, and turns in those of others."""

    conversations: list[str]
    turns: int


class Conversations:
    """Finds, records and removes conversations. Ids are in their stored form; all methods raise StorageError.

    `keeps_content` False keeps who talked when, with which model and at what cost, but not what was said.
    Of more than `most` conversations the one that rested longest goes.
    """

    def __init__(self, database: Database, *, keeps_content: bool = True, most: int | None = None) -> None:
        self._database = database
        self.keeps_content = keeps_content
        self._numbering = Numbering(database.dialect, most)

    async def get(self, conversation_id: str) -> Conversation | None:
        """The conversation, whoever owns it, or None."""

        def find(connection: Connection) -> Conversation | None:
            row = connection.execute(_FIND, {"conversation_id": conversation_id}).one_or_none()
            return None if row is None else Conversation(**row._mapping)

        return await self._database.read(find)

    async def existing(self, conversation_ids: Collection[str]) -> set[str]:
        """Those of these conversations that are there."""
        statement = select(_conversations.c.id).where(_conversations.c.id.in_(list(conversation_ids)))
        return await self._database.read(lambda connection: set(connection.scalars(statement)))

    async def turns(self, conversation_id: str) -> list[StoredTurn]:
        """All turns, oldest first."""

        def find(connection: Connection) -> list[StoredTurn]:
            rows = connection.execute(_OLDEST_FIRST, {"conversation_id": conversation_id})
            return [StoredTurn(**row._mapping) for row in rows]

        return await self._database.read(find)

    async def exchanges(self, conversation_id: str, last: int) -> list[Exchange]:
        """What was said in the last few turns, oldest first."""

        def find(connection: Connection) -> list[Exchange]:
            rows = connection.execute(_EXCHANGES, {"conversation_id": conversation_id, "last": last}).all()
            return [Exchange(**row._mapping) for row in reversed(rows)]

        return await self._database.read(find)

    async def tool_uses(
        self, conversation_id: str, tool_name: str
    ) -> list[tuple[list[dict[str, Any]], list[dict[str, Any]]]]:
        """Calls and results of the turns that may have called a tool, oldest first."""

        def find(connection: Connection) -> list[tuple[list[dict[str, Any]], list[dict[str, Any]]]]:
            parameters = {"conversation_id": conversation_id, "tool_name": f'%"{tool_name}"%'}
            return [(row[0], row[1]) for row in connection.execute(_TOOL_USES, parameters)]

        return await self._database.read(find)

    async def newest(
        self,
        user_id: str | None,
        *,
        limit: int | None = None,
        after: str | None = None,
        search: str | None = None,
    ) -> list[Conversation]:
        """One user's conversations, or with None everyone's, newest first.

        `after` is the id of the last one of the page before. `search` finds text in topics, questions and answers,
        in any case. Raises NotFound if `after` is not among the user's conversations.
        """
        own = [] if user_id is None else [_conversations.c.user_id == user_id]

        def find(connection: Connection) -> list[Conversation]:
            conditions = list(own)
            if after is not None:
                conditions.append(_older_than(connection, after, own))
            if search:
                conditions.append(mentioning(connection, search))
            rows = connection.execute(
                select(_conversations)
                .where(and_(True, *conditions))
                .order_by(*schema.NEWEST_FIRST)
                .limit(limit)
            )
            return [Conversation(**row._mapping) for row in rows]

        return await self._database.read(find)

    async def record(self, turn: TurnRecord, *, begins: bool) -> StoredTurn | None:
        """Add a turn, whole or not at all, and return it with its number.

        `begins` says that it is the first of its conversation, which it makes; else the conversation must be there, and
        None means that it has been deleted meanwhile. A turn that is there already is returned as it is. Raises
        ValueError if the id is not in its stored form, or if it begins a conversation that another user has.
        """
        if not is_conversation_id(turn.conversation_id):
            raise ValueError("not the stored form of a conversation id")
        if not self.keeps_content:
            turn = replace(turn, **_NO_CONTENT)
        values = {field.name: getattr(turn, field.name) for field in fields(TurnRecord)}

        try:
            number = await self._database.write(
                lambda connection: self._numbering.add(connection, turn, values, begins=begins)
            )
        except RecordedAlready:
            return await self._recorded(turn.request_id)
        return None if number is None else StoredTurn(**values, number=number)

    async def participants(self, conversation_id: str) -> set[str]:
        """The users who own the conversation or have asked in it."""
        return (await self.participants_of([conversation_id])).get(conversation_id, set())

    async def participants_of(self, conversation_ids: Collection[str]) -> dict[str, set[str]]:
        """As `participants`, of each conversation that is there."""
        return await self._database.read(lambda connection: _participants(connection, conversation_ids))

    async def rename(self, conversation_id: str, topic_summary: str, *, now: datetime | None = None) -> bool:
        """Name a conversation; `now` makes it the one that was touched last. False if it is not there."""
        values: dict[str, Any] = {"topic_summary": topic_summary}
        if now is not None:
            values["last_message_at"] = now
        return await self._changed(_one(update(_conversations), conversation_id).values(values))

    async def suggest_name(
        self, conversation_id: str, topic_summary: str, *, input_tokens: int, output_tokens: int
    ) -> bool:
        """Name a conversation unless it has a name, and add up what that has cost. False if it is not there."""
        table = _conversations.c
        values = {
            "topic_summary": func.coalesce(
                table.topic_summary, literal(topic_summary or None, schema.FreeText)
            ),
            "topic_input_tokens": table.topic_input_tokens + input_tokens,
            "topic_output_tokens": table.topic_output_tokens + output_tokens,
        }
        return await self._changed(_one(update(_conversations), conversation_id).values(values))

    async def delete(self, conversation_ids: Sequence[str]) -> int:
        """Remove conversations with their turns; returns how many were there."""
        return len(await self.take_away(conversation_ids))

    async def take_away(
        self, conversation_ids: Collection[str], *, resting_since: datetime | None = None
    ) -> dict[str, set[str]]:
        """Remove conversations with their turns; returns those that were there with their participants.

        With `resting_since`, those whose last message is newer stay.
        """
        wanted: ColumnElement[bool] = _conversations.c.id.in_(sorted(conversation_ids))
        if resting_since is not None:
            wanted = and_(wanted, _conversations.c.last_message_at < resting_since)

        def take(connection: Connection) -> dict[str, set[str]]:
            # Locked in a fixed order: no turn is added meanwhile, and two who remove the same do not block each other.
            found = select(_conversations.c.id).where(wanted).order_by(_conversations.c.id)
            ids = connection.scalars(found.with_for_update()).all()
            participants = _participants(connection, ids)
            connection.execute(delete(_conversations).where(_conversations.c.id.in_(ids)))
            return participants

        return await self._database.write(take)

    async def resting_since(
        self, before: datetime, limit: int, *, after: Conversation | None = None
    ) -> list[Conversation]:
        """The conversations whose last message is older, those that rested longest first.

        `after` is the last one of the part before.
        """
        beyond = [] if after is None else [_place(after.last_message_at, after.id) < _PLACE]
        statement = (
            select(_conversations)
            .where(_conversations.c.last_message_at < before, *beyond)
            .order_by(_conversations.c.last_message_at, _conversations.c.id)
            .limit(limit)
        )

        def find(connection: Connection) -> list[Conversation]:
            return [Conversation(**row._mapping) for row in connection.execute(statement)]

        return await self._database.read(find)

    async def count_user(self, user_id: str) -> Held:
        """How many conversations a user has, and how many turns in those of others."""
        owned = select(func.count()).select_from(_conversations).where(_conversations.c.user_id == user_id)

        def count(connection: Connection) -> Held:
            guest = connection.scalar(select(func.count()).select_from(_turns).where(_as_guest(user_id)))
            return Held(connection.scalar(owned) or 0, guest or 0)

        return await self._database.read(count)

    async def erase_user(self, user_id: str) -> Erased:
        """Remove a user's conversations, and empty the turns that this user has added to those of others."""
        removed: list[str] = []
        # Some at a time, so that nobody else who writes has to wait for long.
        while owned := await self.newest(user_id, limit=_AT_ONCE):
            removed += await self.take_away([conversation.id for conversation in owned])
        emptied = update(_turns).where(_turns.c.user_id == user_id).values(**_NO_CONTENT, user_id="")
        wishes = delete(schema.interrupts).where(schema.interrupts.c.user_id == user_id)

        def empty(connection: Connection) -> int:
            connection.execute(wishes)
            return connection.execute(emptied).rowcount

        return Erased(removed, await self._database.write(empty))

    async def _recorded(self, request_id: str) -> StoredTurn:
        def find(connection: Connection) -> StoredTurn | None:
            row = connection.execute(_BY_REQUEST, {"request_id": request_id}).one_or_none()
            return None if row is None else StoredTurn(**row._mapping)

        turn = await self._database.read(find)
        if turn is None:
            raise StorageError("Failed to query the database")
        return turn

    async def _changed(self, statement: Any) -> bool:
        def change(connection: Connection) -> bool:
            return connection.execute(statement).rowcount > 0

        return await self._database.write(change)


def _participants(connection: Connection, conversation_ids: Collection[str]) -> dict[str, set[str]]:
    owners = select(_conversations.c.id, _conversations.c.user_id).where(
        _conversations.c.id.in_(conversation_ids)
    )
    asked = select(_turns.c.conversation_id, _turns.c.user_id).where(
        _turns.c.conversation_id.in_(conversation_ids)
    )
    found: dict[str, set[str]] = {}
    for conversation_id, user_id in connection.execute(owners.union(asked)):
        found.setdefault(conversation_id, set()).add(user_id)
    return found


def _as_guest(user_id: str) -> ColumnElement[bool]:
    """Turns of a user in conversations of others."""
    of_others = select(_conversations.c.id).where(
        _conversations.c.id == _turns.c.conversation_id, _conversations.c.user_id != user_id
    )
    return and_(_turns.c.user_id == user_id, of_others.exists())


def _one(statement: Any, conversation_id: str) -> Any:
    return statement.where(_conversations.c.id == conversation_id)


def _older_than(
    connection: Connection, conversation_id: str, own: Sequence[ColumnElement[bool]]
) -> ColumnElement[bool]:
    last = connection.scalar(
        select(_conversations.c.last_message_at).where(_conversations.c.id == conversation_id, *own)
    )
    if last is None:
        raise NotFound("Conversation", conversation_id)
    return _place(last, conversation_id) > _PLACE


def _place(last_message_at: datetime, conversation_id: str) -> ColumnElement[Any]:
    return tuple_(literal(last_message_at, schema.UtcDateTime), literal(conversation_id, schema.FreeText))
