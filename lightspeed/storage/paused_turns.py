"""Turns that wait for a person, with all that is needed to go on, in whichever process."""

from collections.abc import Collection, Sequence
from dataclasses import asdict, fields
from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, Connection, and_, delete, func, insert, or_, select, update

from lightspeed.storage.database import Database
from lightspeed.storage.pause_records import Approval, PausedTurn
from lightspeed.storage.schema import approvals, paused_turns
from lightspeed.storage.upsert import put

_COLUMNS = [paused_turns.c[field.name] for field in fields(PausedTurn)]


class PausedTurns:
    """Only the one who holds a turn changes it. All methods raise StorageError."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def pause(self, turn: PausedTurn, waiting: Sequence[Approval]) -> None:
        """Keep a turn together with the approvals that it waits for; one that paused before is replaced."""

        def add(connection: Connection) -> None:
            put(connection, paused_turns, asdict(turn))
            if waiting:
                connection.execute(insert(approvals), [asdict(approval) for approval in waiting])

        await self._database.write(add)

    async def get(self, request_id: str) -> PausedTurn | None:
        found = await self._find(paused_turns.c.request_id == request_id)
        return found[0] if found else None

    async def of_conversation(self, conversation_id: str) -> list[PausedTurn]:
        """The turns of a conversation that wait, oldest first."""
        return await self._find(paused_turns.c.conversation_id == conversation_id)

    async def expired(self, now: datetime, limit: int) -> list[PausedTurn]:
        """Some that may not be gone on with any more, and that nobody goes on with."""
        return await self._find(and_(paused_turns.c.expires_at <= now, _free(now)), limit)

    async def take(
        self, request_id: str, holder: str, *, now: datetime, until: datetime, expires_at: datetime
    ) -> PausedTurn | None:
        """Hold a turn that nobody holds, and which then expires later; returns it as it was kept, or None."""
        return await self._take(
            and_(paused_turns.c.request_id == request_id, _free(now), paused_turns.c.expires_at > now),
            {"resumed_by": holder, "resumed_until": until, "expires_at": expires_at},
        )

    async def take_expired(
        self, request_id: str, holder: str, *, now: datetime, until: datetime
    ) -> PausedTurn | None:
        """Hold a turn that has expired while nobody held it, to end it."""
        return await self._take(
            and_(paused_turns.c.request_id == request_id, _free(now), paused_turns.c.expires_at <= now),
            {"resumed_by": holder, "resumed_until": until},
        )

    async def hold_on(self, request_id: str, holder: str, *, until: datetime, expires_at: datetime) -> bool:
        """Hold a turn for longer. False if it is not held by this holder any more."""
        return await self._change(request_id, holder, {"resumed_until": until, "expires_at": expires_at})

    async def keep(self, request_id: str, holder: str, state: dict[str, Any]) -> bool:
        """Keep how far a turn has come. False if it is not held by this holder any more."""
        return await self._change(request_id, holder, {"state": state})

    async def let_go(self, request_id: str, holder: str) -> bool:
        """Let others go on with it."""
        return await self._change(request_id, holder, {"resumed_by": None, "resumed_until": None})

    async def is_held(self, request_id: str, holder: str) -> bool:
        return bool(await self._find(_held(request_id, holder)))

    async def remove(self, request_id: str) -> None:
        """Forget a turn that has ended; its decisions stay, and what nobody decided has expired."""
        undecided = update(approvals).where(
            approvals.c.request_id == request_id, approvals.c.status == "pending"
        )

        def change(connection: Connection) -> None:
            # In the order of whoever decides: the approvals, then the turn.
            connection.execute(undecided.values(status="expired"))
            connection.execute(delete(paused_turns).where(paused_turns.c.request_id == request_id))

        await self._database.write(change)

    async def participants(self, conversation_id: str) -> set[str]:
        """Whose turns of a conversation wait."""
        return {turn.user_id for turn in await self.of_conversation(conversation_id)}

    async def erase_conversations(self, conversation_ids: Collection[str]) -> int:
        """Remove turns and approvals of conversations; returns how many approvals those were."""
        ids = list(conversation_ids)
        return await self._erase(
            paused_turns.c.conversation_id.in_(ids), approvals.c.conversation_id.in_(ids)
        )

    async def erase_user(self, user_id: str) -> int:
        """Remove a user's turns and approvals; returns how many approvals those were."""
        return await self._erase(paused_turns.c.user_id == user_id, approvals.c.user_id == user_id)

    async def count_user(self, user_id: str) -> int:
        """How many approvals are kept of a user, with those of turns that wait."""
        statement = select(func.count()).select_from(approvals).where(approvals.c.user_id == user_id)
        return await self._database.read(lambda connection: connection.scalar(statement) or 0)

    async def _erase(self, turns: ColumnElement[bool], decisions: ColumnElement[bool]) -> int:
        def change(connection: Connection) -> int:
            removed = connection.execute(delete(approvals).where(decisions)).rowcount
            connection.execute(delete(paused_turns).where(turns))
            return removed

        return await self._database.write(change)

    async def _take(self, condition: ColumnElement[bool], values: dict[str, Any]) -> PausedTurn | None:
        def change(connection: Connection) -> PausedTurn | None:
            statement = update(paused_turns).where(condition).values(values)
            taken = connection.execute(statement.returning(*_COLUMNS)).one_or_none()
            return None if taken is None else PausedTurn(**taken._mapping)

        return await self._database.write(change)

    async def _find(self, condition: ColumnElement[bool], limit: int | None = None) -> list[PausedTurn]:
        return await self._database.read(lambda connection: _rows(connection, condition, limit))

    async def _change(self, request_id: str, holder: str, values: dict[str, Any]) -> bool:
        statement = update(paused_turns).where(_held(request_id, holder)).values(values)
        return await self._database.write(lambda connection: connection.execute(statement).rowcount > 0)


def _rows(
    connection: Connection, condition: ColumnElement[bool], limit: int | None = None
) -> list[PausedTurn]:
    statement = select(*_COLUMNS).where(condition).order_by(paused_turns.c.created_at).limit(limit)
    return [PausedTurn(**row._mapping) for row in connection.execute(statement)]


def _held(request_id: str, holder: str) -> ColumnElement[bool]:
    return and_(paused_turns.c.request_id == request_id, paused_turns.c.resumed_by == holder)


def _free(now: datetime) -> ColumnElement[bool]:
    return or_(paused_turns.c.resumed_until.is_(None), paused_turns.c.resumed_until <= now)
