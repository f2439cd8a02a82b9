"""Wishes to stop a stream that another process of the service may be running."""

from collections.abc import Collection
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Literal

from sqlalchemy import ColumnElement, Connection, and_, delete, select, update

from lightspeed.storage.database import Database
from lightspeed.storage.schema import interrupts
from lightspeed.storage.upsert import put

type Outcome = Literal["interrupted", "completed", "foreign"]

_FORGOTTEN_AFTER = timedelta(minutes=1)


@dataclass(frozen=True, slots=True)
class Wish:
    """A user wants a stream to stop, which need not be this user's own."""

    request_id: str
    user_id: str


class Interrupts:
    """One process places a wish, the one that runs the stream settles it. All methods raise StorageError."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def place(self, wish: Wish) -> None:
        """Wish anew; wishes that nobody settled within a minute are forgotten."""
        now = datetime.now(UTC)
        row = {
            "request_id": wish.request_id,
            "user_id": wish.user_id,
            "requested_at": now,
            "outcome": None,
        }

        def add(connection: Connection) -> None:
            forgotten = interrupts.c.requested_at < now - _FORGOTTEN_AFTER
            connection.execute(delete(interrupts).where(forgotten))
            put(connection, interrupts, row)

        await self._database.write(add)

    async def unsettled(self, request_ids: Collection[str]) -> list[Wish]:
        """The wishes about these streams that wait for an outcome."""
        if not request_ids:
            return []
        statement = select(interrupts.c.request_id, interrupts.c.user_id).where(
            interrupts.c.request_id.in_(list(request_ids)), interrupts.c.outcome.is_(None)
        )
        return await self._database.read(
            lambda connection: [Wish(*row) for row in connection.execute(statement)]
        )

    async def settle(self, wish: Wish, outcome: Outcome) -> None:
        """Tell what has become of a wish."""
        statement = update(interrupts).where(_is(wish)).values(outcome=outcome)
        await self._database.write(lambda connection: connection.execute(statement) and None)

    async def outcome(self, wish: Wish) -> Outcome | None:
        """What has become of a wish, or None while nobody has settled it."""
        statement = select(interrupts.c.outcome).where(_is(wish))
        return await self._database.read(
            lambda connection: connection.execute(statement).scalar_one_or_none()
        )

    async def withdraw(self, wish: Wish) -> None:
        """Forget a wish."""
        statement = delete(interrupts).where(_is(wish))
        await self._database.write(lambda connection: connection.execute(statement) and None)


def _is(wish: Wish) -> ColumnElement[bool]:
    return and_(interrupts.c.request_id == wish.request_id, interrupts.c.user_id == wish.user_id)
