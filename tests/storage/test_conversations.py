import asyncio
import random
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import asdict, replace
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path

import anyio
import pytest

from lightspeed.errors import StorageError
from lightspeed.storage.conversations import Conversations
from lightspeed.storage.database import Database
from lightspeed.storage.identifiers import new_conversation_id
from lightspeed.storage.records import Conversation
from tests.storage.turns import a_turn

pytestmark = pytest.mark.anyio

ROOT = Path(__file__).parents[2]


@pytest.fixture
def new_york(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("TZ", "America/New_York")
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


async def test_a_turn_is_read_back_as_it_was_recorded(conversations: Conversations) -> None:
    turn = a_turn(status="failed", error={"status_code": 503, "response": "down", "cause": "refused"})
    recorded = await conversations.record(turn)
    assert asdict(recorded) == asdict(turn) | {"number": 1}
    assert await conversations.turns(turn.conversation_id) == [recorded]


async def test_the_conversation_follows_its_turns(conversations: Conversations) -> None:
    first = a_turn(topic_summary="Nodes")
    later = first.completed_at + timedelta(minutes=1)
    await conversations.record(first)
    await conversations.record(
        replace(first, provider="p2", model="m2", completed_at=later, topic_summary=None)
    )
    expected = Conversation(
        id=first.conversation_id,
        user_id="alice",
        created_at=first.started_at,
        last_message_at=later,
        message_count=2,
        last_provider="p2",
        last_model="m2",
        topic_summary="Nodes",
    )
    assert await conversations.get(first.conversation_id) == expected
    await conversations.record(replace(first, topic_summary="Zones"))
    found = await conversations.get(first.conversation_id)
    assert found == replace(
        expected, message_count=3, last_provider="acme", last_model="m1", topic_summary="Zones"
    )


async def test_the_last_turns_come_oldest_first(conversations: Conversations) -> None:
    turn = a_turn()
    for number in range(1, 6):
        await conversations.record(replace(turn, query=str(number)))
    assert [t.query for t in await conversations.turns(turn.conversation_id)] == ["1", "2", "3", "4", "5"]
    assert [t.query for t in await conversations.turns(turn.conversation_id, last=2)] == ["4", "5"]
    assert [t.number for t in await conversations.turns(turn.conversation_id, last=9)] == [1, 2, 3, 4, 5]
    assert await conversations.turns(turn.conversation_id, last=0) == []


async def test_an_unknown_conversation_has_nothing(conversations: Conversations) -> None:
    assert await conversations.get(new_conversation_id()) is None
    assert await conversations.turns(new_conversation_id()) == []


async def test_another_users_conversation_is_left_alone(conversations: Conversations) -> None:
    turn = a_turn()
    await conversations.record(turn)
    before = await conversations.get(turn.conversation_id)
    with pytest.raises(ValueError, match="another user"):
        await conversations.record(replace(turn, user_id="mallory", topic_summary="mine now"))
    assert await conversations.get(turn.conversation_id) == before
    assert len(await conversations.turns(turn.conversation_id)) == 1


@pytest.mark.parametrize("conversation_id", ["", "../x", "A" * 48, "conv_" + "a" * 48])
async def test_only_stored_forms_of_ids_are_recorded(
    conversations: Conversations, conversation_id: str
) -> None:
    with pytest.raises(ValueError, match="stored form"):
        await conversations.record(a_turn(conversation_id=conversation_id))


@pytest.mark.usefixtures("new_york")
async def test_times_keep_their_moment_in_any_zone(conversations: Conversations) -> None:
    started = datetime(2030, 7, 1, 23, 30, 0, 1, tzinfo=timezone(timedelta(hours=-4)))
    turn = a_turn(started_at=started, completed_at=started.astimezone())
    await conversations.record(turn)
    [stored] = await conversations.turns(turn.conversation_id)
    conversation = await conversations.get(turn.conversation_id)
    assert conversation is not None
    for moment in (
        stored.started_at,
        stored.completed_at,
        conversation.created_at,
        conversation.last_message_at,
    ):
        assert moment == started
        assert moment.tzinfo is UTC


async def test_a_time_without_a_zone_is_refused(conversations: Conversations) -> None:
    turn = a_turn(completed_at=datetime(2030, 1, 2))
    with pytest.raises(StorageError):
        await conversations.record(turn)
    assert await conversations.get(turn.conversation_id) is None


async def test_odd_characters_cost_no_turn(conversations: Conversations) -> None:
    turn = a_turn(
        user_id="a\ud800",
        query="a\x00b\ud800",
        answer="é\U0001f600",
        tool_results=[{"content": "\udfff\x00"}],
    )
    await conversations.record(turn)
    assert (await conversations.record(turn)).number == 2
    stored = (await conversations.turns(turn.conversation_id))[0]
    assert (stored.query, stored.answer) == ("a\ufffdb\ufffd", "é\U0001f600")
    assert stored.tool_results[0]["content"].startswith("\ufffd")


async def test_a_failing_turn_leaves_nothing(conversations: Conversations, database: Database) -> None:
    await database.write(lambda connection: connection.exec_driver_sql("DROP TABLE turns") and None)
    turn = a_turn()
    with pytest.raises(StorageError) as raised:
        await conversations.record(turn)
    assert raised.value.response == "Database query failed"
    assert raised.value.cause == "Failed to query the database"
    assert await conversations.get(turn.conversation_id) is None


async def test_concurrent_turns_are_numbered_without_gaps(conversations: Conversations) -> None:
    turn = a_turn()
    recorded = await asyncio.gather(*(conversations.record(turn) for _ in range(50)))
    assert sorted(t.number for t in recorded) == list(range(1, 51))


async def test_a_cancelled_turn_is_whole_or_absent(conversations: Conversations) -> None:
    turn = a_turn()
    chance = random.Random(7)
    finished = 0
    for number in range(80):
        task = asyncio.create_task(conversations.record(replace(turn, request_id=str(number))))
        for _ in range(chance.randrange(60)):
            await asyncio.sleep(0)
        task.cancel()
        try:
            await task
            finished += 1
        except asyncio.CancelledError:
            pass
    stored = await conversations.turns(turn.conversation_id)
    conversation = await conversations.get(turn.conversation_id)
    assert conversation is not None
    assert len(stored) >= finished
    assert [t.number for t in stored] == list(range(1, conversation.message_count + 1))
    assert len({t.request_id for t in stored}) == len(stored)
    # A leaked connection or a held lock would stop these.
    await asyncio.gather(*(conversations.record(a_turn()) for _ in range(20)))
    await asyncio.gather(*(conversations.turns(turn.conversation_id) for _ in range(20)))


async def test_a_turn_is_recorded_although_the_client_is_gone(conversations: Conversations) -> None:
    turn = a_turn()
    with anyio.CancelScope() as scope:
        scope.cancel()
        await conversations.record(turn)
    assert len(await conversations.turns(turn.conversation_id)) == 1


def recorder(path: Path, conversation_ids: list[str], count: int) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "tests.storage.recorder", str(path), str(count), *conversation_ids]
    process = subprocess.Popen(
        command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    return process


def numbers_by_conversation(path: Path) -> dict[str, list[int]]:
    connection = sqlite3.connect(path)
    try:
        assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        counts = dict(connection.execute("SELECT id, message_count FROM conversations"))
        numbers: dict[str, list[int]] = {conversation_id: [] for conversation_id in counts}
        for conversation_id, number in connection.execute(
            "SELECT conversation_id, number FROM turns ORDER BY conversation_id, number"
        ):
            numbers[conversation_id].append(number)
    finally:
        connection.close()
    assert counts == {conversation_id: len(found) for conversation_id, found in numbers.items()}
    return numbers


def test_two_processes_share_a_database(tmp_path: Path) -> None:
    path = tmp_path / "new" / "lightspeed.db"
    conversation_ids = [new_conversation_id() for _ in range(10)]
    processes = [recorder(path, conversation_ids, 100) for _ in range(2)]
    for process in processes:
        assert process.stdin is not None
        process.stdin.write("go\n")
        process.stdin.flush()
    for process in processes:
        output, errors = process.communicate()
        assert (process.returncode, errors) == (0, "")
        assert len(output.splitlines()) == 100
    assert numbers_by_conversation(path) == {cid: list(range(1, 21)) for cid in conversation_ids}


def test_a_recorded_turn_survives_a_killed_process(tmp_path: Path) -> None:
    path = tmp_path / "lightspeed.db"
    chance = random.Random(11)
    acknowledged: set[tuple[str, int]] = set()
    for _ in range(3):
        process = recorder(path, [new_conversation_id() for _ in range(3)], 1_000_000)
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write("go\n")
        process.stdin.flush()
        lines = [process.stdout.readline() for _ in range(chance.randrange(1, 40))]
        process.kill()
        rest, _ = process.communicate()
        for line in (*lines, *rest.splitlines(keepends=True)):
            if line.endswith("\n"):
                conversation_id, number = line.split()
                acknowledged.add((conversation_id, int(number)))
        kept = {(cid, number) for cid, found in numbers_by_conversation(path).items() for number in found}
        assert acknowledged <= kept
