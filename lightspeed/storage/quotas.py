"""Balances of tokens, shared by all processes of the service."""

from collections.abc import Callable, Sequence
from datetime import UTC, datetime

from sqlalchemy import (
    ColumnElement,
    Connection,
    Text,
    Update,
    and_,
    case,
    delete,
    false,
    literal,
    not_,
    null,
    or_,
    select,
    tuple_,
    update,
)

from lightspeed.identity.quota import Balance, Limit, Payer, quota_exceeded
from lightspeed.storage.database import Database
from lightspeed.storage.quota_beginning import begin_balance
from lightspeed.storage.quota_history import add_usage, count_usage, read_usage, remove_usage
from lightspeed.storage.quota_records import Settlement, TokenUsage
from lightspeed.storage.schema import quotas

_AT_ONCE = 500

type Clock = Callable[[], datetime]


class Quotas:
    """Each method is one transaction over all limits. All raise StorageError.

    Whoever takes a balance from above zero to zero or below is its `overdrawn_by`, and the only one who may take
    more until it is above zero again.
    """

    def __init__(
        self,
        database: Database,
        limits: Sequence[Limit] = (),
        *,
        keeps_history: bool = False,
        now: Clock = lambda: datetime.now(UTC),
    ) -> None:
        self.limits = tuple(limits)
        self.keeps_history = keeps_history
        self.now = now
        self.database = database
        # In the same order everywhere, or two transactions would wait for each other.
        self._in_locking_order = sorted(limits, key=lambda limit: limit.name)
        kinds = [limit.per for limit in limits]
        self._sole = {limit.name for limit in limits if kinds.count(limit.per) == 1}

    async def balances(self, payer: Payer) -> list[Balance]:
        """What is left, in the order of the configuration."""
        if not self.limits:
            return []
        found = await self.database.read(lambda connection: self._look(connection, payer))
        if len(found) < len(self.limits):
            found = await self.database.write(lambda connection: self._look_or_begin(connection, payer))
        return found

    async def charge(self, payer: Payer, spender: str, tokens: int) -> list[Balance]:
        """Take tokens from all balances or from none. Raises TooManyRequests if one is used up."""
        if not self.limits:
            return []

        def work(connection: Connection) -> list[Balance]:
            now = self.now()
            return [self._take(connection, limit, payer, spender, tokens, now) for limit in order]

        order = self._in_locking_order
        return await self.database.write(work)

    async def settle(self, settlement: Settlement) -> None:
        """Charge or give back what a call has still to be charged, and add to the history."""

        def work(connection: Connection) -> None:
            now = self.now()
            # Histories first everywhere, again for the order of locks.
            if settlement.usage is not None:
                add_usage(connection, settlement.usage, now)
            if settlement.due:
                for limit in self._in_locking_order:
                    self._settle(connection, limit, settlement, now)

        await self.database.write(work)

    async def refill(self) -> int:
        """Begin a new period where one has ended; returns how many balances were refilled.

        Several processes may do so at once: each balance is refilled once. Periods that nobody has noticed count once.
        """
        return sum([await self._refill(limit) for limit in self.limits if limit.refills])

    async def usage(self, user_id: str) -> Sequence[TokenUsage]:
        """What a user has spent so far, by provider and model."""
        return await self.database.read(lambda connection: read_usage(connection, user_id))

    async def count_user(self, user_id: str) -> int:
        """How many rows of the history `erase_user` would remove."""
        return await self.database.read(lambda connection: count_usage(connection, user_id))

    async def erase_user(self, user_id: str) -> int:
        """Remove a user's history; returns how many rows that were.

        A balance goes too, unless that would be worth tokens: one that is lower than a new one stays.
        """

        def work(connection: Connection) -> int:
            removed = remove_usage(connection, user_id)
            lower = (
                and_(quotas.c.limiter == limit.name, quotas.c.available < limit.first)
                for limit in self.limits
            )
            own = and_(quotas.c.subject == "user", quotas.c.subject_id == user_id)
            connection.execute(delete(quotas).where(own, not_(or_(false(), *lower))))
            return removed

        return await self.database.write(work)

    def _look(self, connection: Connection, payer: Payer) -> list[Balance]:
        subjects = {limit.subject(payer) for limit in self.limits}
        wanted = or_(*(and_(quotas.c.subject == kind, quotas.c.subject_id == key) for kind, key in subjects))
        statement = select(
            quotas.c.limiter,
            quotas.c.subject,
            quotas.c.available,
            quotas.c.overdrawn_by,
            quotas.c.refilled_at,
            quotas.c.updated_at,
        ).where(wanted)
        rows = {(row.limiter, row.subject): row for row in connection.execute(statement)}
        found = ((limit, rows.get((limit.name, limit.subject(payer)[0]))) for limit in self.limits)
        return [
            Balance(limit, row.available, row.overdrawn_by, row.refilled_at, row.updated_at)
            for limit, row in found
            if row is not None
        ]

    def _look_or_begin(self, connection: Connection, payer: Payer) -> list[Balance]:
        now = self.now()
        for limit in self._in_locking_order:
            self._begin(connection, limit, payer, now)
        return self._look(connection, payer)

    def _begin(self, connection: Connection, limit: Limit, payer: Payer, now: datetime) -> None:
        begin_balance(connection, limit, payer, now, sole=limit.name in self._sole)

    def _take(
        self, connection: Connection, limit: Limit, payer: Payer, spender: str, tokens: int, now: datetime
    ) -> Balance:
        may_spend = or_(quotas.c.available > 0, quotas.c.overdrawn_by == spender)
        left = quotas.c.available - tokens
        statement = (
            _changed(limit, payer, spender, left, now)
            .where(may_spend)
            .returning(quotas.c.available, quotas.c.overdrawn_by, quotas.c.refilled_at, quotas.c.updated_at)
        )
        while (row := connection.execute(statement).first()) is None:
            # Raised in here, so that the other balances get back what was taken from them.
            for found in self._look(connection, payer):
                if not found.open_to(spender):
                    raise quota_exceeded(found, payer, now)
            self._begin(connection, limit, payer, now)
        return Balance(limit, row.available, row.overdrawn_by, row.refilled_at, row.updated_at)

    def _settle(self, connection: Connection, limit: Limit, settlement: Settlement, now: datetime) -> None:
        due, payer = settlement.due, settlement.payer
        left = quotas.c.available - due
        if due < 0 and limit.resets:
            # What was taken before a reset has been made good by it: only the rest is given back.
            held = settlement.holdings.get(limit.name)
            if held is None:
                return
            back = min(-due, held.tokens)
            left = quotas.c.available + case((quotas.c.refilled_at == held.period_began, back), else_=0)
        statement = _changed(limit, payer, settlement.spender, left, now)
        if connection.execute(statement).rowcount == 0:
            self._begin(connection, limit, payer, now)
            connection.execute(statement)

    async def _refill(self, limit: Limit) -> int:
        refilled = 0
        if not await self.database.read(lambda connection: self._due(connection, limit, 1)):
            # Without taking the place of a writer, since this happens every second in every process.
            return 0
        while batch := await self.database.write(lambda connection: self._refill_some(connection, limit)):
            refilled += batch
            if batch < _AT_ONCE:
                break
        return refilled

    def _due(
        self, connection: Connection, limit: Limit, limit_rows: int, *, lock: bool = False
    ) -> list[tuple[str, str]]:
        began_before = self.now() - limit.period
        statement = (
            select(quotas.c.subject, quotas.c.subject_id)
            .where(quotas.c.limiter == limit.name, quotas.c.refilled_at <= began_before)
            .order_by(quotas.c.subject, quotas.c.subject_id)
            .limit(limit_rows)
        )
        if lock:
            statement = statement.with_for_update()
        return [(row.subject, row.subject_id) for row in connection.execute(statement)]

    def _refill_some(self, connection: Connection, limit: Limit) -> int:
        due = self._due(connection, limit, _AT_ONCE, lock=True)
        if not due:
            return 0
        added = quotas.c.available + limit.increase
        refilled: ColumnElement[int] = literal(limit.initial + limit.increase) if limit.resets else added
        statement = (
            update(quotas)
            .where(quotas.c.limiter == limit.name, tuple_(quotas.c.subject, quotas.c.subject_id).in_(due))
            .values(
                available=refilled,
                overdrawn_by=case((refilled > 0, null()), else_=quotas.c.overdrawn_by),
                refilled_at=self.now(),
            )
        )
        connection.execute(statement)
        return len(due)


def _changed(limit: Limit, payer: Payer, spender: str, left: ColumnElement[int], now: datetime) -> Update:
    subject, subject_id = limit.subject(payer)
    who = case(
        (left > 0, null()),
        (quotas.c.available > 0, literal(spender, Text)),
        else_=quotas.c.overdrawn_by,
    )
    return (
        update(quotas)
        .where(
            quotas.c.limiter == limit.name,
            quotas.c.subject == subject,
            quotas.c.subject_id == subject_id,
        )
        .values(available=left, overdrawn_by=who, updated_at=now)
    )
