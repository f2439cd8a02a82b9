import asyncio

import pytest
from sqlalchemy import text

from lightspeed.storage.database import Database
from lightspeed.storage.interrupts import Interrupts, Wish

pytestmark = pytest.mark.anyio

WISH = Wish("r1", "alice")


async def test_a_wish_is_settled_by_who_runs_the_stream(database: Database) -> None:
    interrupts = Interrupts(database)
    await interrupts.place(WISH)
    await interrupts.place(Wish("r2", "bob"))
    assert await interrupts.unsettled(["r1", "r3"]) == [WISH]
    assert await interrupts.unsettled([]) == []
    assert await interrupts.outcome(WISH) is None
    await interrupts.settle(WISH, "interrupted")
    assert await interrupts.unsettled(["r1"]) == []
    assert await interrupts.outcome(WISH) == "interrupted"
    await interrupts.withdraw(WISH)
    assert await interrupts.outcome(WISH) is None


async def test_two_users_may_wish_the_same(database: Database) -> None:
    interrupts = Interrupts(database)
    foreign = Wish("r1", "mallory")
    await interrupts.place(WISH)
    await interrupts.place(foreign)
    await interrupts.settle(foreign, "foreign")
    assert await interrupts.unsettled(["r1"]) == [WISH]


async def test_a_wish_may_be_placed_again_and_by_many_at_once(database: Database) -> None:
    interrupts = Interrupts(database)
    await interrupts.place(WISH)
    await interrupts.settle(WISH, "completed")
    await asyncio.gather(*(interrupts.place(WISH) for _ in range(20)))
    assert await interrupts.unsettled(["r1"]) == [WISH]


async def test_old_wishes_are_forgotten(database: Database) -> None:
    interrupts = Interrupts(database)
    await interrupts.place(WISH)
    old = "UPDATE lightspeed_interrupts SET requested_at = '2020-01-01 00:00:00.000000'"
    await database.write(lambda connection: connection.execute(text(old)) and None)
    await interrupts.place(Wish("r2", "bob"))
    assert await interrupts.unsettled(["r1", "r2"]) == [Wish("r2", "bob")]
