"""Settlements while the database is away."""

import asyncio
import logging
from collections.abc import AsyncIterator

import pytest

from lightspeed.assistant.metering import Metering
from lightspeed.assistant.settling import Settling
from lightspeed.errors import StorageError
from lightspeed.storage.database import Database
from lightspeed.storage.quota_history import TokenUsage
from lightspeed.storage.quotas import Quotas, Settlement
from tests.assistant.paying import Speaker, left, read
from tests.postgresql import Postgresql
from tests.storage.limits import ALICE, user_limit

pytestmark = pytest.mark.anyio


@pytest.fixture
async def database(stoppable_postgresql: Postgresql) -> AsyncIterator[Database]:
    database = Database(stoppable_postgresql.url(stoppable_postgresql.new_database()))
    await database.open()
    yield database
    await database.close()


async def ending(settlement: Settlement | None) -> Settlement | None:
    return settlement


async def settled(metering: Metering) -> None:
    """Returns when nothing waits any more."""
    while True:
        if not metering.waiting:
            return
        await asyncio.sleep(0.02)


async def test_what_was_spent_is_charged_when_the_database_is_back(
    database: Database, stoppable_postgresql: Postgresql, caplog: pytest.LogCaptureFixture
) -> None:
    quotas = Quotas(database, [user_limit(10_000)], keeps_history=True)
    metering = Metering(quotas, pause=0.05)

    async def stop(word: int) -> None:
        if word == 3:
            await asyncio.to_thread(stoppable_postgresql.stop)

    # Longer than what is paid ahead.
    model = Speaker(600, (20, 600), before=stop)
    assert await read(metering.account(ALICE).metered(model)) == "now " * 600
    assert metering.waiting == 1
    with pytest.raises(StorageError) as raised:
        await metering.account(ALICE).admit()
    assert (raised.value.status, raised.value.response) == (500, "Database query failed")
    await asyncio.to_thread(stoppable_postgresql.start)
    await settled(metering)
    assert await left(quotas, ALICE) == [10_000 - 620]
    assert await quotas.usage("alice") == [TokenUsage("alice", "acme", "m1", 20, 600)]
    await metering.close()
    assert "lost" not in caplog.text


async def test_at_the_end_it_is_tried_once_more(
    database: Database, stoppable_postgresql: Postgresql, caplog: pytest.LogCaptureFixture
) -> None:
    quotas = Quotas(database, [user_limit(10_000)])
    await quotas.balances(ALICE)
    settling = Settling(quotas, pause=600)
    await asyncio.to_thread(stoppable_postgresql.stop)
    for tokens in (1, 20, 300):
        await settling.settle(ending(Settlement(ALICE, "a", tokens)))
    assert settling.waiting == 3
    await asyncio.to_thread(stoppable_postgresql.start)
    await settling.close()
    assert await left(quotas, ALICE) == [10_000 - 321]
    assert "lost" not in caplog.text


async def test_what_is_lost_is_told(database: Database, caplog: pytest.LogCaptureFixture) -> None:
    quotas = Quotas(database, [user_limit(10_000)])
    settling = Settling(quotas, most_in_memory=2, pause=600)
    await database.close()
    usage = TokenUsage("alice", "acme", "m1", 8, 2)
    with caplog.at_level(logging.ERROR):
        for settlement in (Settlement(ALICE, "a", 1000), Settlement(ALICE, "a", 5, {}, usage)):
            await settling.settle(ending(settlement))
        await settling.settle(ending(Settlement(ALICE, "a", -30)))
        # There is no room for more.
        lost = "settlements are lost: 1000 tokens are not charged, 0 are not given back, and 0 are missing"
        assert lost in caplog.text
        await settling.close()
    lost = "2 settlements are lost: 5 tokens are not charged, 30 are not given back, and 10 are missing"
    assert lost in caplog.text


async def test_one_that_cannot_be_made_does_not_hold_up_others(
    database: Database, caplog: pytest.LogCaptureFixture
) -> None:
    quotas = Quotas(database, [user_limit(10_000)])
    await quotas.balances(ALICE)
    settling = Settling(quotas, pause=0.01)
    # More than the database can count.
    await settling.settle(ending(Settlement(ALICE, "a", 2**63 - 1)))
    await settling.settle(ending(Settlement(ALICE, "a", 2**63 - 1)))
    await settling.settle(ending(Settlement(ALICE, "a", 10)))
    await settling.close()
    assert "1 settlements are lost" in caplog.text
    assert await left(quotas, ALICE) == [10_000 - (2**63 - 1) - 10]


async def test_an_ending_that_fails_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    settling = Settling(Quotas(Database.in_memory()))

    async def fail() -> None:
        raise RuntimeError("boom")

    await settling.settle(fail())
    await settling.settle(ending(None))
    await settling.close()
    assert "cannot be counted" in caplog.text


async def test_further_calls_of_an_admitted_question_are_paid_when_the_database_is_back(
    database: Database, stoppable_postgresql: Postgresql
) -> None:
    quotas = Quotas(database, [user_limit(10_000)])
    metering = Metering(quotas, pause=0.05)
    paying = metering.account(ALICE).metered(Speaker())
    assert await read(paying) == "now now now "
    await asyncio.to_thread(stoppable_postgresql.stop)
    # With the result of a tool, for instance.
    assert await read(paying) == "now now now "
    with pytest.raises(StorageError):
        await read(metering.account(ALICE).metered(Speaker()))
    await asyncio.to_thread(stoppable_postgresql.start)
    await settled(metering)
    assert await left(quotas, ALICE) == [10_000 - 2 * 23]
    await metering.close()
