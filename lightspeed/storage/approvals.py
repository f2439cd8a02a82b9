"""Calls of tools that a person allows or not."""

from collections.abc import Sequence
from dataclasses import fields
from datetime import datetime

from sqlalchemy import ColumnElement, Connection, and_, delete, func, or_, select, update

from lightspeed.storage.database import Database
from lightspeed.storage.pause_records import Approval
from lightspeed.storage.schema import approvals, paused_turns

_COLUMNS = [approvals.c[field.name] for field in fields(Approval)]
_IN_ORDER = (approvals.c.created_at, approvals.c.id)


class Approvals:
    """Finds and decides approvals; a turn that pauses adds them. All methods raise StorageError."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def get(self, approval_id: str, user_id: str) -> Approval | None:
        """A user's own, whatever has become of it."""
        return await self._database.read(lambda connection: _one(connection, approval_id, user_id))

    async def pending(self, user_id: str, conversation_id: str | None, now: datetime) -> list[Approval]:
        """A user's own that wait for a decision, oldest first; of one conversation, or with None of all."""
        conditions = [
            approvals.c.user_id == user_id,
            approvals.c.status == "pending",
            approvals.c.expires_at > now,
        ]
        if conversation_id is not None:
            conditions.append(approvals.c.conversation_id == conversation_id)
        return await self._database.read(lambda connection: _all(connection, and_(*conditions)))

    async def of_turns(self, request_ids: Sequence[str]) -> list[Approval]:
        """All approvals of some turns, oldest first."""
        return await self._database.read(
            lambda connection: _all(connection, approvals.c.request_id.in_(request_ids))
        )

    async def decide(
        self,
        approval_id: str,
        user_id: str,
        *,
        approve: bool,
        reason: str | None,
        now: datetime,
        go_on_until: datetime,
    ) -> tuple[Approval | None, bool]:
        """Decide a user's own approval once; returns it as it is now, and whether this call has decided it.

        With the last decision of a turn it may be gone on with until `go_on_until`.
        """
        waits = and_(
            approvals.c.id == approval_id,
            approvals.c.user_id == user_id,
            approvals.c.status == "pending",
            approvals.c.expires_at > now,
        )
        values = {
            "status": "approved" if approve else "denied",
            "decision_reason": reason,
            "decided_at": now,
        }

        def change(connection: Connection) -> tuple[Approval | None, bool]:
            decided = connection.execute(update(approvals).where(waits).values(values)).rowcount > 0
            approval = _one(connection, approval_id, user_id)
            if decided and approval is not None:
                _give_time(connection, approval.request_id, go_on_until)
            return approval, decided

        return await self._database.write(change)

    async def remove_old(self, *, decided_before: datetime, expired_before: datetime) -> int:
        """Remove what was decided or expired before; returns how many. Those of turns that still wait stay."""
        old = and_(
            or_(
                approvals.c.decided_at < decided_before,
                and_(approvals.c.decided_at.is_(None), approvals.c.expires_at < expired_before),
            ),
            approvals.c.request_id.not_in(select(paused_turns.c.request_id)),
        )
        return await self._database.write(
            lambda connection: connection.execute(delete(approvals).where(old)).rowcount
        )


def _give_time(connection: Connection, request_id: str, until: datetime) -> None:
    # Locks the turn, so that of two last decisions at once one sees the other.
    connection.execute(
        select(paused_turns.c.request_id).where(paused_turns.c.request_id == request_id).with_for_update()
    )
    waiting = select(func.count()).where(
        approvals.c.request_id == request_id, approvals.c.status == "pending"
    )
    if not connection.scalar(waiting):
        connection.execute(
            update(paused_turns).where(paused_turns.c.request_id == request_id).values(expires_at=until)
        )


def _one(connection: Connection, approval_id: str, user_id: str) -> Approval | None:
    found = _all(connection, and_(approvals.c.id == approval_id, approvals.c.user_id == user_id))
    return found[0] if found else None


def _all(connection: Connection, condition: ColumnElement[bool]) -> list[Approval]:
    rows = connection.execute(select(*_COLUMNS).where(condition).order_by(*_IN_ORDER))
    return [Approval(**row._mapping) for row in rows]
