"""The switch of the feedback, shared by all processes."""

import sqlite3
from collections.abc import AsyncIterator
from contextlib import closing
from pathlib import Path

import pytest
from anyio import to_thread

from lightspeed.api.feedback_switch import FeedbackSwitch
from lightspeed.errors import StorageError
from lightspeed.storage.database import Database
from lightspeed.storage.switches import Switches

pytestmark = pytest.mark.anyio


@pytest.fixture
async def switches(tmp_path: Path) -> AsyncIterator[Switches]:
    database = Database.at(tmp_path / "lightspeed.db")
    await database.open()
    yield Switches(database)
    await database.close()


@pytest.mark.parametrize("configured", [True, False])
async def test_nobody_has_touched_it_and_the_configuration_counts(
    switches: Switches, configured: bool
) -> None:
    assert await FeedbackSwitch(configured=configured).enabled(switches) is configured


async def test_all_processes_see_what_one_has_switched(switches: Switches) -> None:
    one, other = FeedbackSwitch(configured=True), FeedbackSwitch(configured=True)
    assert await one.turn(switches, on=False) is True
    assert await other.enabled(switches) is False
    assert await other.turn(switches, on=False) is False
    assert await other.turn(switches, on=True) is False
    assert await one.enabled(switches) is True


async def test_it_stays_as_it_was_last_seen_while_the_database_is_away(
    switches: Switches, tmp_path: Path
) -> None:
    one, other = FeedbackSwitch(configured=True), FeedbackSwitch(configured=True)
    await one.turn(switches, on=False)
    await to_thread.run_sync(execute, tmp_path, "ALTER TABLE lightspeed_switches RENAME TO away")
    assert await one.enabled(switches) is False
    assert await other.enabled(switches) is True
    with pytest.raises(StorageError):
        await one.turn(switches, on=True)
    assert await one.enabled(switches) is False
    await to_thread.run_sync(execute, tmp_path, "ALTER TABLE away RENAME TO lightspeed_switches")
    assert await other.enabled(switches) is False


def execute(folder: Path, statement: str) -> None:
    with closing(sqlite3.connect(folder / "lightspeed.db")) as connection:
        connection.execute(statement)
        connection.commit()
