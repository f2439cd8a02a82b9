import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

import pytest

from lightspeed.configuration.quota import QuotaSchedulerConfiguration
from lightspeed.storage.database import Database
from lightspeed.storage.quota_refills import QuotaRefills
from lightspeed.storage.quotas import Quotas
from tests.postgresql import Postgresql
from tests.storage.limits import ALICE, DAY, Clock, user_limit

pytestmark = pytest.mark.anyio

SCHEDULER = QuotaSchedulerConfiguration()


@asynccontextmanager
async def running(quotas: Quotas) -> AsyncIterator[None]:
    task = asyncio.create_task(QuotaRefills(quotas, SCHEDULER).run())
    try:
        yield
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


async def refilled(quotas: Quotas, clock: Clock) -> None:
    """Returns when a new period has begun."""
    clock.move(DAY)
    while True:
        [balance] = await quotas.balances(ALICE)
        if balance.refilled_at == clock():
            return
        await asyncio.sleep(0.02)


async def test_it_refills_again_and_again(database: Database) -> None:
    clock = Clock()
    quotas = Quotas(database, [user_limit(0, 10)], now=clock)
    await quotas.balances(ALICE)
    async with running(quotas):
        await refilled(quotas, clock)
        await refilled(quotas, clock)
    assert [balance.available for balance in await quotas.balances(ALICE)] == [30]


async def test_it_goes_on_when_the_database_is_back(
    postgresql: Postgresql, caplog: pytest.LogCaptureFixture
) -> None:
    clock = Clock()
    caplog.set_level(logging.INFO)
    name = postgresql.new_database()
    database = Database(postgresql.url(name))
    quotas = Quotas(database, [user_limit(100)], now=clock)
    await quotas.charge(ALICE, "a", 70)

    async def admits(connections: bool) -> None:
        shut_out = f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{name}'"
        statement = f"ALTER DATABASE {name} ALLOW_CONNECTIONS {connections}"
        for each in (statement, shut_out):
            await asyncio.to_thread(postgresql.sql, "postgres", each)

    await admits(False)
    async with running(quotas):
        await told(caplog, "cannot be refilled now")
        # At least one more attempt fails.
        await asyncio.sleep(1.2)
        await admits(True)
        await refilled(quotas, clock)
        await told(caplog, "refilled again")
    await database.close()
    own = [record for record in caplog.records if record.name == "lightspeed.storage.quota_refills"]
    assert [record.levelno for record in own] == [logging.ERROR, logging.INFO]


async def told(caplog: pytest.LogCaptureFixture, text: str) -> None:
    while True:
        if text in caplog.text:
            return
        await asyncio.sleep(0.02)
