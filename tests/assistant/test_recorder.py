"""Nothing that a model has answered is lost: the database, the disk, and the way from one to the other."""

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from anyio import to_thread
from sqlalchemy import text

from lightspeed.assistant import backlog, recorder
from lightspeed.assistant.recorder import Recorder
from lightspeed.storage.conversations import Conversations
from lightspeed.storage.database import Database
from lightspeed.storage.erasure import Erasure
from lightspeed.storage.pending import PendingTurns
from lightspeed.storage.records import TurnRecord
from lightspeed.storage.transcripts import Transcripts
from lightspeed.telemetry.metrics import Metrics
from tests.assistant.conftest import files_below, locked
from tests.postgresql import Postgresql
from tests.storage.turns import a_turn

pytestmark = pytest.mark.anyio


@pytest.fixture(autouse=True)
def impatience(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recorder, "_ABSENT_DATABASE_ANSWERS_WITHIN", 0.1)
    monkeypatch.setattr(backlog, "_CLOSES_WITHIN", 0.2)
    monkeypatch.setattr(backlog, "_SHORTEST_PAUSE", 0.05)
    monkeypatch.setattr(backlog, "_LONGEST_PAUSE", 0.2)


class Office:
    """One process of the service, as far as recording goes."""

    def __init__(self, folder: Path, database: Database, **settings: Any) -> None:
        self.folder = folder
        self.metrics = Metrics()
        self.conversations = Conversations(database, **settings)
        self.pending = PendingTurns(folder / "pending")
        self.transcripts = Transcripts(folder / "transcripts")
        self.recorder = Recorder(self.conversations, self.pending, self.transcripts, self.metrics)

    async def record(self, turn: TurnRecord, *, begins: bool = True) -> None:
        await self.recorder.record(turn, begins=begins, truncated=False)

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Another process holds the database, and recorders do not wait long for it."""
        with pytest.MonkeyPatch.context() as patched, locked(self.folder / "lightspeed.db"):
            patched.setattr(recorder, "_DATABASE_ANSWERS_WITHIN", 0.2)
            yield

    async def files(self, folder: str) -> list[Path]:
        return await to_thread.run_sync(files_below, self.folder / folder)

    async def empty(self) -> None:
        """Returns when nothing waits on disk."""
        async with asyncio.timeout(60):
            while await self.files("pending"):  # noqa: ASYNC110 - another process may have recorded it
                await asyncio.sleep(0.01)

    async def numbers(self, turn: TurnRecord) -> list[tuple[int, str]]:
        return [(kept.number, kept.query) for kept in await self.conversations.turns(turn.conversation_id)]

    async def failures(self) -> int:
        lines = (await to_thread.run_sync(self.metrics.exposition)).decode().splitlines()
        counted = [line for line in lines if line.startswith("ls_storage_failures_total{")]
        return int(sum(float(line.rpartition(" ")[2]) for line in counted if "conversation" in line))


@pytest.fixture
async def database(tmp_path: Path) -> AsyncIterator[Database]:
    database = Database.at(tmp_path / "lightspeed.db")
    await database.open()
    yield database
    await database.close()


@pytest.fixture
async def office(tmp_path: Path, database: Database) -> AsyncIterator[Office]:
    office = Office(tmp_path, database)
    yield office
    await office.recorder.close()


@asynccontextmanager
async def stopped(server: Postgresql) -> AsyncIterator[None]:
    await to_thread.run_sync(server.stop)
    try:
        yield
    finally:
        await to_thread.run_sync(server.start)


@pytest.fixture
async def remote_office(tmp_path: Path, stoppable_postgresql: Postgresql) -> AsyncIterator[Office]:
    """An office whose database is a PostgreSQL server that may be stopped."""
    name = await to_thread.run_sync(stoppable_postgresql.new_database)
    database = Database(stoppable_postgresql.url(name))
    await database.open()
    office = Office(tmp_path, database)
    yield office
    await office.recorder.close()
    await database.close()


def turns_of_one_conversation(number: int) -> list[TurnRecord]:
    first = a_turn()
    return [
        replace(
            first,
            request_id=str(uuid4()),
            query=f"question {index}",
            completed_at=first.completed_at + timedelta(seconds=index),
        )
        for index in range(1, number + 1)
    ]


def new_turn(query: str, **changes: Any) -> TurnRecord:
    return a_turn(request_id=str(uuid4()), query=query, **changes)


async def eventually(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(20):
        while not condition():  # noqa: ASYNC110 - what is waited for has no event
            await asyncio.sleep(0.01)


async def test_with_a_healthy_database_nothing_else_is_touched(office: Office) -> None:
    first, second = turns_of_one_conversation(2)
    await office.record(first)
    await office.record(second, begins=False)
    assert await office.numbers(first) == [(1, "question 1"), (2, "question 2")]
    await office.recorder.close()
    assert not (office.folder / "pending").exists()
    assert [path.stem for path in await office.files("transcripts")] == sorted(
        [first.request_id, second.request_id]
    )
    assert office.recorder.waiting == await office.failures() == 0


async def test_a_turn_waits_on_disk_while_the_database_is_locked(office: Office) -> None:
    office.recorder.start()
    turn = new_turn("asked while it was locked")
    with office.locked():
        await office.record(turn)
        (file,) = await office.files("pending")
        assert turn.request_id in file.name
        assert office.recorder.waiting == await office.failures() == 1
        assert office.recorder.is_waiting(turn.request_id)
    await eventually(lambda: office.recorder.waiting == 0)
    assert await office.numbers(turn) == [(1, "asked while it was locked")]
    assert await office.files("pending") == []


async def test_a_slow_commit_after_all_is_no_second_turn(
    office: Office, monkeypatch: pytest.MonkeyPatch
) -> None:
    go_on, record = asyncio.Event(), office.conversations.record

    async def slowly(turn: TurnRecord, *, begins: bool) -> Any:
        await go_on.wait()
        return await record(turn, begins=begins)

    monkeypatch.setattr(office.conversations, "record", slowly)
    monkeypatch.setattr(recorder, "_DATABASE_ANSWERS_WITHIN", 0.1)
    turn = new_turn("slow")
    await office.record(turn)
    assert len(await office.files("pending")) == 1
    office.recorder.start()
    go_on.set()
    await eventually(lambda: office.recorder.waiting == 0)
    assert await office.numbers(turn) == [(1, "slow")]
    assert await office.files("pending") == []


async def test_turns_of_an_outage_are_recorded_in_order_and_once(
    remote_office: Office, stoppable_postgresql: Postgresql
) -> None:
    office = remote_office
    office.recorder.start()
    known = turns_of_one_conversation(4)
    await office.record(known[0])
    new = [new_turn(f"new {number}") for number in range(3)]
    async with stopped(stoppable_postgresql):
        for turn in known[1:]:
            await office.record(turn, begins=False)
        for turn in new:
            await office.record(turn)
        assert office.recorder.waiting == len(await office.files("pending")) == 6
    await eventually(lambda: office.recorder.waiting == 0)
    assert await office.numbers(known[0]) == [(number, f"question {number}") for number in range(1, 5)]
    for turn in new:
        assert await office.numbers(turn) == [(1, turn.query)]
    assert await office.files("pending") == []


async def test_a_database_that_is_away_is_not_waited_for_again(
    office: Office, monkeypatch: pytest.MonkeyPatch
) -> None:
    with office.locked():
        await office.record(new_turn("first"))
        monkeypatch.setattr(recorder, "_DATABASE_ANSWERS_WITHIN", 1000)
        async with asyncio.timeout(8):
            await office.record(new_turn("second"))
        assert office.recorder.waiting == 2


async def test_the_next_process_records_what_an_earlier_one_has_left(
    tmp_path: Path, database: Database
) -> None:
    earlier = Office(tmp_path, database)
    first, second = turns_of_one_conversation(2)
    with earlier.locked():
        await earlier.pending.add(backlog.PendingTurn(first, begins=True))
        await earlier.pending.add(backlog.PendingTurn(second, begins=False))
    later = Office(tmp_path, database)
    later.recorder.start()
    await later.empty()
    await later.recorder.close()
    assert await later.numbers(first) == [(1, "question 1"), (2, "question 2")]
    assert await later.files("pending") == []


async def test_two_processes_on_one_folder_record_each_turn_once(tmp_path: Path, database: Database) -> None:
    offices = [Office(tmp_path, database), Office(tmp_path, database)]
    turns = turns_of_one_conversation(30)
    others = [new_turn(f"other {number}") for number in range(30)]
    for index, turn in enumerate(turns):
        await offices[0].pending.add(backlog.PendingTurn(turn, begins=index == 0))
        await offices[0].pending.add(backlog.PendingTurn(others[index], begins=True))
    for office in offices:
        office.recorder.start()
    await offices[0].empty()
    for office in offices:
        await office.recorder.close()
    assert await offices[0].numbers(turns[0]) == [(n, f"question {n}") for n in range(1, 31)]
    assert [await offices[0].numbers(turn) for turn in others] == [[(1, turn.query)] for turn in others]


async def test_without_disk_and_database_a_turn_waits_in_memory(office: Office, tmp_path: Path) -> None:
    await to_thread.run_sync((tmp_path / "pending").write_text, "in the way")
    turn = new_turn("in memory")
    with office.locked():
        await office.record(turn)
        assert office.recorder.waiting == 1
    office.recorder.start()
    await eventually(lambda: office.recorder.waiting == 0)
    assert await office.numbers(turn) == [(1, "in memory")]


async def test_what_is_only_in_memory_is_written_when_the_disk_is_back(
    office: Office, tmp_path: Path
) -> None:
    obstacle = tmp_path / "pending"
    await to_thread.run_sync(obstacle.write_text, "in the way")
    turn = new_turn("in memory")
    with office.locked():
        await office.record(turn)
        await to_thread.run_sync(obstacle.unlink)
        await office.recorder.close()
        (file,) = await office.files("pending")
        assert turn.request_id in file.name


async def test_what_cannot_be_kept_at_all_is_said(
    office: Office, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    await to_thread.run_sync((tmp_path / "pending").write_text, "in the way")
    with office.locked(), caplog.at_level(logging.ERROR):
        await office.record(new_turn("one"))
        await office.record(new_turn("two"))
        await office.recorder.close()
    assert "2 turns are lost" in caplog.text


async def test_a_turn_that_cannot_be_recorded_holds_up_no_other(
    remote_office: Office, stoppable_postgresql: Postgresql, caplog: pytest.LogCaptureFixture
) -> None:
    office = remote_office
    mine = new_turn("mine", user_id="somebody")
    await office.record(mine)
    moment = mine.completed_at
    unfit = [
        replace(mine, request_id=str(uuid4()), user_id="somebody else"),
        *(new_turn("too large a number", input_tokens=2**40) for _ in range(3)),
    ]
    good = [new_turn(f"good {n}", completed_at=moment + timedelta(seconds=n)) for n in range(1, 5)]
    async with stopped(stoppable_postgresql):
        for turn in (*unfit, *good):
            await office.record(turn)
    office.recorder.start()
    await eventually(lambda: office.recorder.waiting == len(unfit))
    assert [await office.numbers(turn) for turn in good] == [[(1, turn.query)] for turn in good]
    assert await office.numbers(mine) == [(1, "mine")]
    for number in range(backlog.RetryOrder.REFUSALS * 2):
        # As long as others are taken, it is not the database that is at fault.
        await office.record(new_turn(f"healthy {number}"))
        await asyncio.sleep(0.1)
    assert caplog.text.count("set aside") >= 1
    assert len(await office.files("pending")) == len(unfit)


async def test_a_deleted_conversation_stays_deleted(office: Office) -> None:
    first, second = turns_of_one_conversation(2)
    await office.record(first)
    await office.conversations.delete([first.conversation_id])
    await office.record(second, begins=False)
    await office.recorder.close()
    assert await office.conversations.get(first.conversation_id) is None
    assert second.request_id not in [path.stem for path in await office.files("transcripts")]
    assert office.recorder.waiting == await office.failures() == 0


async def test_a_turn_that_waits_does_not_bring_its_conversation_back(
    office: Office, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = turns_of_one_conversation(2)
    await office.record(first)
    go_on, record = asyncio.Event(), office.conversations.record

    async def after_the_deletion(turn: TurnRecord, *, begins: bool) -> Any:
        await go_on.wait()
        return await record(turn, begins=begins)

    monkeypatch.setattr(office.conversations, "record", after_the_deletion)
    monkeypatch.setattr(recorder, "_DATABASE_ANSWERS_WITHIN", 0.1)
    await office.record(second, begins=False)
    await office.conversations.delete([first.conversation_id])
    go_on.set()
    await eventually(lambda: office.recorder.waiting == 0)
    await office.recorder.close()
    assert await office.conversations.get(first.conversation_id) is None
    assert await office.files("pending") == []
    assert await office.files("transcripts") == []


async def test_an_erasure_reaches_what_waits(office: Office) -> None:
    erasure = Erasure(office.conversations, office.pending, transcripts=office.transcripts, feedback=None)
    first, second = turns_of_one_conversation(2)
    await office.record(first)
    with office.locked():
        await office.pending.add(backlog.PendingTurn(second, begins=False))
    assert await erasure.conversation(first.conversation_id)
    office.recorder.start()
    await office.record(new_turn("another"))
    assert await office.conversations.get(first.conversation_id) is None
    assert await office.files("pending") == []


async def test_a_conversation_that_is_asked_for_is_settled_first(office: Office) -> None:
    first, second = turns_of_one_conversation(2)
    other = new_turn("other")
    with office.locked():
        await office.record(other)
        await office.record(first)
        await office.record(second, begins=False)
        assert await office.recorder.settle(first.conversation_id) is False
    assert await office.recorder.settle(first.conversation_id) is True
    assert await office.numbers(first) == [(1, "question 1"), (2, "question 2")]
    assert await office.recorder.settle(first.conversation_id) is False


async def test_what_another_process_has_left_is_settled_when_it_is_searched_for(office: Office) -> None:
    turn = new_turn("left")
    await office.pending.add(backlog.PendingTurn(turn, begins=True))
    assert await office.recorder.settle(turn.conversation_id) is False
    assert await office.recorder.settle(turn.conversation_id, search=True) is True
    assert await office.numbers(turn) == [(1, "left")]
    assert await office.files("pending") == []


async def test_a_turn_is_kept_though_its_caller_is_cancelled(office: Office) -> None:
    turn = new_turn("cancelled")
    with office.locked():
        caller = asyncio.create_task(office.record(turn))
        await asyncio.sleep(0.05)
        caller.cancel()
        with pytest.raises(asyncio.CancelledError):
            await caller
        await office.recorder.close()
        assert len(await office.files("pending")) == 1


async def test_where_no_content_is_kept_none_waits_on_disk(tmp_path: Path, database: Database) -> None:
    office = Office(tmp_path, database, keeps_content=False)
    with office.locked():
        await office.record(new_turn("a secret question", answer="a secret answer"))
        (file,) = await office.files("pending")
        assert "secret" not in await to_thread.run_sync(file.read_text)
    await office.recorder.close()
    assert await office.files("pending") == []


async def test_an_attempt_that_fails_leaves_no_gap_in_the_numbers(office: Office, database: Database) -> None:
    turns = turns_of_one_conversation(3)
    await office.record(turns[0])

    def refuse(connection: Any) -> None:
        connection.execute(
            text(
                "CREATE TRIGGER refuse BEFORE INSERT ON lightspeed_turns "
                "BEGIN SELECT RAISE(ABORT, 'not now'); END"
            )
        )

    await database.write(refuse)
    await office.record(turns[1], begins=False)
    assert office.recorder.waiting == 1
    await database.write(lambda connection: connection.execute(text("DROP TRIGGER refuse")) and None)
    await office.recorder.settle(turns[0].conversation_id)
    await office.record(turns[2], begins=False)
    assert await office.numbers(turns[0]) == [(1, "question 1"), (2, "question 2"), (3, "question 3")]
