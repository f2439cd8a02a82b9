"""Adding a turn to its conversation, within a transaction."""

from collections.abc import Mapping
from typing import Any

from sqlalchemy import Connection, bindparam, case, delete, insert, select, update
from sqlalchemy.exc import IntegrityError

from lightspeed.storage import schema
from lightspeed.storage.records import TurnRecord
from lightspeed.storage.upsert import insert_into

_conversations, _turns = schema.conversations, schema.turns
_TURN_COLUMNS = tuple(_turns.c.keys())
_ADD_TURN = insert(_turns)


class RecordedAlready(Exception):
    """The turn is in the database; takes back what the transaction has done so far."""


class Numbering:
    """Gives turns their numbers: 1, 2, 3 and so on, without gaps, whoever else does so at the same time."""

    def __init__(self, dialect: str, most: int | None) -> None:
        """Of more than `most` conversations the one that rested longest goes."""
        self._begin = _begin(dialect)
        self._continue = _continue()
        self._most = most

    def add(
        self, connection: Connection, turn: TurnRecord, values: Mapping[str, Any], *, begins: bool
    ) -> int | None:
        """Write the turn, whose columns are `values`, and return its number; None if its conversation is gone.

        Raises RecordedAlready, or ValueError if it begins a conversation that another user has.
        """
        number = self._next(connection, turn, begins=begins)
        if number is None:
            return None
        row = {**values, "number": number}
        try:
            connection.execute(_ADD_TURN, {name: row[name] for name in _TURN_COLUMNS})
        except IntegrityError:
            raise RecordedAlready from None
        if begins and self._most is not None:
            _forget_oldest(connection, self._most, turn.conversation_id)
        return number

    def _next(self, connection: Connection, turn: TurnRecord, *, begins: bool) -> int | None:
        values = {
            "id": turn.conversation_id,
            "user_id": turn.user_id,
            "created_at": turn.started_at,
            "last_message_at": turn.completed_at,
            "message_count": 1,
            "last_provider": turn.provider,
            "last_model": turn.model,
            "topic_input_tokens": 0,
            "topic_output_tokens": 0,
        }
        # Either statement locks the row, so that nobody else can be given this number.
        if not begins:
            parameters = {f"new_{name}": value for name, value in values.items()}
            return connection.execute(self._continue, parameters).scalar_one_or_none()
        number: int | None = connection.execute(self._begin, values).scalar_one_or_none()
        if number is None:
            raise ValueError("the conversation belongs to another user")
        return number


def _begin(dialect: str) -> Any:
    insert_or = insert_into(dialect, _conversations)
    return insert_or.on_conflict_do_update(
        index_elements=["id"],
        set_=_touched(insert_or.excluded),
        where=_conversations.c.user_id == insert_or.excluded.user_id,
    ).returning(_conversations.c.message_count)


def _continue() -> Any:
    new: Any = {
        name: bindparam(f"new_{name}", type_=column.type) for name, column in _conversations.c.items()
    }
    return (
        update(_conversations)
        .where(_conversations.c.id == new["id"])
        .values(_touched(new))
        .returning(_conversations.c.message_count)
    )


def _touched(new: Any) -> dict[str, Any]:
    old = _conversations.c
    return {
        # Turns that overlap may end in another order than they are recorded.
        "last_message_at": case(
            (new["last_message_at"] > old.last_message_at, new["last_message_at"]), else_=old.last_message_at
        ),
        "message_count": old.message_count + 1,
        "last_provider": new["last_provider"],
        "last_model": new["last_model"],
    }


def _forget_oldest(connection: Connection, most: int, newest: str) -> None:
    others = select(_conversations.c.id).where(_conversations.c.id != newest)
    too_many = others.order_by(*schema.NEWEST_FIRST).offset(most - 1)
    connection.execute(delete(_conversations).where(_conversations.c.id.in_(too_many)))
