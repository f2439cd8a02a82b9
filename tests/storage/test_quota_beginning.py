"""Balances that lightspeed-stack has left, in tables as it makes them."""

import logging
from datetime import timedelta

import pytest

from lightspeed.identity.quota import Limit, Payer
from lightspeed.storage.database import Database
from lightspeed.storage.quotas import Quotas
from tests.storage.limits import ALICE, BOB, DAY, START, Clock, cluster_limit, user_limit

pytestmark = pytest.mark.anyio

TABLE = (
    "CREATE TABLE quota_limits (id text NOT NULL, subject char(1) NOT NULL, quota_limit int NOT NULL, available int, "
    "updated_at timestamp{zone}, revoked_at timestamp{zone}, PRIMARY KEY(id, subject))"
)


async def run(database: Database, *statements: str) -> None:
    for statement in statements:
        await database.write(lambda connection, s=statement: connection.exec_driver_sql(s) and None)


async def with_earlier(database: Database, rows: str, limits: list[Limit], now: Clock) -> Quotas:
    zone = " with time zone" if database.dialect == "postgresql" else ""
    columns = "INSERT INTO quota_limits (id, subject, quota_limit, available, revoked_at) VALUES "
    await run(database, TABLE.format(zone=zone), columns + rows)
    return Quotas(database, limits, now=now)


async def test_an_earlier_balance_is_taken_over_once(database: Database) -> None:
    began = START - timedelta(hours=5)
    rows = f"('alice', 'u', 100, 42, '{began:%Y-%m-%d %H:%M:%S.%f}+00:00'), ('', 'c', 500, -7, '2999-01-01')"
    clock = Clock()
    quotas = await with_earlier(database, rows, [user_limit(100), cluster_limit(500)], clock)
    mine, everyones = await quotas.balances(ALICE)
    assert (mine.available, mine.refilled_at) == (42, began)
    # A period does not begin in the future.
    assert (everyones.available, everyones.refilled_at) == (-7, START)
    await run(database, "UPDATE quota_limits SET available = 1")
    assert [found.available for found in await quotas.balances(ALICE)] == [42, -7]
    assert [found.available for found in await quotas.balances(BOB)] == [100, -7]
    clock.move(DAY - timedelta(hours=5))
    assert await quotas.refill() == 1


async def test_it_is_not_taken_over_where_it_may_be_anothers(database: Database) -> None:
    limits = [user_limit(100), user_limit(200, name="weekly"), cluster_limit(500)]
    rows = "('alice', 'u', 100, 42, '2026-01-01'), ('7', 'u', 1, 1, '2026-01-01')"
    quotas = await with_earlier(database, rows, limits, Clock())
    # Two limits of a type have had one balance together.
    assert [found.available for found in await quotas.balances(ALICE)] == [100, 200, 500]
    # A user may have had the id of an organization.
    alone = Quotas(database, [user_limit(300, name="alone")], now=Clock())
    assert [found.available for found in await alone.balances(Payer("7", "x", "organization"))] == [300]
    assert [found.available for found in await alone.balances(Payer("7", "x"))] == [1]


async def test_a_table_of_another_kind_is_left_alone(
    database: Database, caplog: pytest.LogCaptureFixture
) -> None:
    quotas = Quotas(database, [user_limit(100)])
    await run(database, "CREATE TABLE quota_limits (id int)")
    assert [found.available for found in await quotas.balances(ALICE)] == [100]
    wrong = "id int, subject int, available int, revoked_at int"
    await run(database, "DROP TABLE quota_limits", f"CREATE TABLE quota_limits ({wrong})")
    with caplog.at_level(logging.WARNING):
        assert [found.available for found in await quotas.balances(BOB)] == [100]
    # PostgreSQL refuses to compare a text with a number; SQLite does not.
    assert ("cannot be read" in caplog.text) is (database.dialect == "postgresql")
    assert [found.available for found in await quotas.charge(Payer("carol", "carol"), "a", 10)] == [90]
