import asyncio

import pytest
from sqlalchemy import URL

from lightspeed.storage.database import Database
from lightspeed.storage.switches import Switches

pytestmark = pytest.mark.anyio


async def test_a_switch_keeps_its_position(database: Database) -> None:
    switches = Switches(database)
    assert await switches.get("feedback") is None
    for position in (True, False, False, True):
        await switches.set("feedback", position)
        assert await switches.get("feedback") is position
    assert await switches.get("other") is None


async def test_all_processes_see_the_same_position(database: Database, place: URL) -> None:
    other = Database(place)
    await asyncio.gather(
        *(Switches(each).set("feedback", True) for each in (database, other) for _ in range(10))
    )
    await Switches(other).set("feedback", False)
    assert await Switches(database).get("feedback") is False
    await other.close()
