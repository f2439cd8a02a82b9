"""Stopping a Turn that another process runs, through the database that both share."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from lightspeed.assistant.interruption import Interruptions
from lightspeed.assistant.turn import Turn
from lightspeed.errors import StorageError
from lightspeed.storage.database import Database
from lightspeed.storage.interrupts import Interrupts

pytestmark = pytest.mark.anyio


class Process:
    """The Turns of one process, with what stops them."""

    def __init__(self, database: Database, *, shared: bool = True) -> None:
        self.turns: dict[str, Turn] = {}
        self.interruptions = Interruptions(self, Interrupts(database), shared=shared)

    @property
    def running_requests(self) -> list[str]:
        return list(self.turns)

    def running(self, request_id: str) -> Turn | None:
        return self.turns.get(request_id)

    def run(self, request_id: str, user_id: str = "alice") -> Turn:
        turn = Turn(request_id, user_id)
        turn.run_in(asyncio.create_task(asyncio.sleep(3600)))
        self.turns[request_id] = turn
        return turn


@pytest.fixture
async def database(tmp_path: Path) -> AsyncIterator[Database]:
    database = Database.at(tmp_path / "lightspeed.db")
    await database.open()
    yield database
    await database.close()


@pytest.fixture
async def processes(database: Database) -> AsyncIterator[tuple[Process, Process]]:
    one, other = Process(database), Process(database)
    for process in (one, other):
        process.interruptions.start()
    yield one, other
    for process in (one, other):
        await process.interruptions.close()


async def test_the_process_that_runs_a_turn_stops_it_for_another(
    processes: tuple[Process, Process], database: Database
) -> None:
    one, other = processes
    turn = one.run("r1")
    assert await other.interruptions.interrupt("r1", "alice") == "interrupted"
    assert turn._task is not None
    assert turn._task.cancelling() or turn._task.cancelled()
    turn.answered()
    assert await other.interruptions.interrupt("r1", "alice") == "completed"
    assert await one.interruptions.interrupt("r1", "alice") == "completed"
    # Nothing of it stays.
    assert await Interrupts(database).unsettled(["r1"]) == []


async def test_nobody_stops_the_turn_of_another_user(processes: tuple[Process, Process]) -> None:
    one, other = processes
    turn = one.run("r1")
    assert await other.interruptions.interrupt("r1", "mallory") == "foreign"
    assert await one.interruptions.interrupt("r1", "mallory") == "foreign"
    assert turn._task is not None
    assert not turn._task.cancelling()
    turn.interrupt()


async def test_what_nobody_runs_is_unknown(processes: tuple[Process, Process]) -> None:
    one, other = processes
    running = one.run("r1")
    assert await other.interruptions.interrupt("r9", "alice") is None
    running.interrupt()


async def test_a_single_process_does_not_ask_the_database(database: Database) -> None:
    await database.close()
    alone = Process(database, shared=False)
    alone.interruptions.start()
    assert await alone.interruptions.interrupt("r9", "alice") is None
    alone.run("r1")
    assert await alone.interruptions.interrupt("r1", "alice") == "interrupted"
    await alone.interruptions.close()


async def test_turns_of_this_process_are_stopped_without_the_database(
    processes: tuple[Process, Process], database: Database
) -> None:
    one, _ = processes
    one.run("r1")
    await database.close()
    assert await one.interruptions.interrupt("r1", "alice") == "interrupted"
    with pytest.raises(StorageError):
        await one.interruptions.interrupt("r9", "alice")
