import asyncio
import random
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import asdict, replace
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path

import anyio
import pytest
from sqlalchemy import URL, text

from lightspeed.errors import StorageError
from lightspeed.storage.conversations import Conversations
from lightspeed.storage.database import Database
from lightspeed.storage.identifiers import new_conversation_id
from lightspeed.storage.records import Conversation
from tests.storage.turns import a_turn, following, ids, recorded

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
    [stored] = await recorded(conversations, turn)
    assert asdict(stored) == asdict(turn) | {"number": 1}
    assert await conversations.turns(turn.conversation_id) == [stored]


async def test_the_conversation_follows_its_turns(conversations: Conversations) -> None:
    first = a_turn()
    later = first.completed_at + timedelta(minutes=1)
    await recorded(conversations, first, following(first, provider="p2", model="m2", completed_at=later))
    expected = Conversation(
        id=first.conversation_id,
        user_id="alice",
        created_at=first.started_at,
        last_message_at=later,
        message_count=2,
        last_provider="p2",
        last_model="m2",
        topic_summary=None,
        topic_input_tokens=0,
        topic_output_tokens=0,
    )
    assert await conversations.get(first.conversation_id) == expected
    # One that took longer, and ended earlier than the last.
    await conversations.record(following(first), begins=False)
    found = await conversations.get(first.conversation_id)
    assert found == replace(expected, message_count=3, last_provider="acme", last_model="m1")


async def test_a_conversation_that_is_not_there_is_not_continued(conversations: Conversations) -> None:
    turn = a_turn()
    assert await conversations.record(turn, begins=False) is None
    assert await conversations.get(turn.conversation_id) is None
    assert await conversations.turns(turn.conversation_id) == []


async def test_a_deleted_conversation_does_not_come_back(conversations: Conversations) -> None:
    turn = a_turn()
    await recorded(conversations, turn)
    assert await conversations.delete([turn.conversation_id]) == 1
    assert await conversations.record(following(turn), begins=False) is None
    assert await conversations.delete([turn.conversation_id]) == 0
    assert await conversations.newest(None) == []


async def test_other_users_may_continue_but_not_begin(conversations: Conversations) -> None:
    turn = a_turn()
    await recorded(conversations, turn, following(turn, user_id="bob"))
    before = await conversations.get(turn.conversation_id)
    with pytest.raises(ValueError, match="another user"):
        await conversations.record(following(turn, user_id="mallory"), begins=True)
    assert await conversations.get(turn.conversation_id) == before
    assert await conversations.participants(turn.conversation_id) == {"alice", "bob"}
    assert await conversations.participants(new_conversation_id()) == set()


@pytest.mark.parametrize("conversation_id", ["", "../x", "A" * 48, "conv_" + "a" * 48])
async def test_only_stored_forms_of_ids_are_recorded(
    conversations: Conversations, conversation_id: str
) -> None:
    with pytest.raises(ValueError, match="stored form"):
        await conversations.record(a_turn(conversation_id=conversation_id), begins=True)


@pytest.mark.usefixtures("new_york")
async def test_times_keep_their_moment_in_any_zone(conversations: Conversations) -> None:
    started = datetime(2030, 7, 1, 23, 30, 0, 1, tzinfo=timezone(timedelta(hours=-4)))
    turn = a_turn(started_at=started, completed_at=started.astimezone())
    await recorded(conversations, turn)
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
        await conversations.record(turn, begins=True)
    assert await conversations.get(turn.conversation_id) is None


async def test_odd_characters_cost_no_turn(conversations: Conversations) -> None:
    turn = a_turn(
        user_id="a\ud800",
        request_id="r\ud800\x00",
        query="a\x00b\ud800",
        answer="é\U0001f600",
        tool_results=[{"content": "\udfff\x00"}],
    )
    await recorded(conversations, turn, following(turn))
    stored = (await conversations.turns(turn.conversation_id))[0]
    assert (stored.query, stored.answer) == ("a\ufffdb\ufffd", "é\U0001f600")
    assert stored.tool_results[0]["content"].startswith("\ufffd")
    # They find it again.
    assert await conversations.record(turn, begins=True) == stored
    assert ids(await conversations.newest("a\ud800")) == [turn.conversation_id]
    assert await conversations.get("\ud800") is None
    name = {"input_tokens": 1, "output_tokens": 1}
    assert await conversations.suggest_name(turn.conversation_id, "N\x00\ud800", **name)
    assert await conversations.rename(turn.conversation_id, "M\x00\ud800")


async def test_a_failing_turn_leaves_nothing(conversations: Conversations, database: Database) -> None:
    await database.write(
        lambda connection: connection.exec_driver_sql("DROP TABLE lightspeed_turns") and None
    )
    turn = a_turn()
    with pytest.raises(StorageError) as raised:
        await conversations.record(turn, begins=True)
    assert raised.value.response == "Database query failed"
    assert raised.value.cause == "Failed to query the database"
    assert await conversations.get(turn.conversation_id) is None


async def test_without_content_only_the_facts_are_kept(database: Database) -> None:
    conversations = Conversations(database, keeps_content=False)
    turn = a_turn(status="failed", error={"status_code": 503, "response": "List nodes", "cause": ""})
    [stored] = await recorded(conversations, turn)
    assert await conversations.turns(turn.conversation_id) == [stored]
    for told in ("List nodes", "Two nodes", "n1", "example.com", "line"):
        assert told not in str(stored)
    assert (stored.status, stored.model, stored.input_tokens) == ("failed", "m1", 40)
    assert await conversations.newest("alice", search="nodes") == []


async def test_concurrent_turns_are_numbered_without_gaps(conversations: Conversations) -> None:
    turn = a_turn()
    found = await asyncio.gather(*(conversations.record(following(turn), begins=True) for _ in range(50)))
    assert sorted(stored.number for stored in found if stored) == list(range(1, 51))


async def test_a_turn_that_is_recorded_many_times_is_kept_once(conversations: Conversations) -> None:
    first = a_turn()
    second = following(first, query="And now?")
    await recorded(conversations, first)
    found = await asyncio.gather(
        *(conversations.record(first, begins=True) for _ in range(10)),
        *(conversations.record(second, begins=False) for _ in range(10)),
    )
    assert {stored.number for stored in found[:10] if stored} == {1}
    assert {stored.number for stored in found[10:] if stored} == {2}
    assert None not in found
    assert [t.query for t in await conversations.turns(first.conversation_id)] == ["List nodes", "And now?"]
    conversation = await conversations.get(first.conversation_id)
    assert conversation is not None
    assert conversation.message_count == 2


async def test_turns_and_deletions_at_once_leave_no_half(conversations: Conversations) -> None:
    turn = a_turn()
    await recorded(conversations, turn)
    work = [conversations.record(following(turn), begins=False) for _ in range(20)]
    deletion = conversations.delete([turn.conversation_id])
    *found, deleted = await asyncio.gather(*work, deletion)
    assert deleted == 1
    assert await conversations.get(turn.conversation_id) is None
    assert await conversations.turns(turn.conversation_id) == []
    numbers = [stored.number for stored in found if stored]
    assert sorted(numbers) == list(range(2, 2 + len(numbers)))


async def test_a_cancelled_turn_is_whole_or_absent(conversations: Conversations) -> None:
    turn = a_turn()
    chance = random.Random(7)
    finished = 0
    for _ in range(80):
        task = asyncio.create_task(conversations.record(following(turn), begins=True))
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
    await asyncio.gather(*(conversations.record(a_turn(), begins=True) for _ in range(20)))
    await asyncio.gather(*(conversations.turns(turn.conversation_id) for _ in range(20)))


async def test_a_turn_is_recorded_although_the_client_is_gone(conversations: Conversations) -> None:
    turn = a_turn()
    with anyio.CancelScope() as scope:
        scope.cancel()
        await conversations.record(turn, begins=True)
    assert len(await conversations.turns(turn.conversation_id)) == 1


def recorder(place: URL, conversation_ids: list[str], count: int) -> subprocess.Popen[str]:
    url = place.render_as_string(hide_password=False)
    command = [sys.executable, "-m", "tests.storage.recorder", url, str(count), *conversation_ids]
    process = subprocess.Popen(
        command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    return process


async def numbers_by_conversation(place: URL) -> dict[str, list[int]]:
    database = Database(place)
    await database.open()
    conversations = Conversations(database)
    if database.dialect == "sqlite":
        check = await database.read(lambda c: c.exec_driver_sql("PRAGMA integrity_check").scalar())
        assert check == "ok"
    found = await conversations.newest(None)
    numbers = {each.id: [turn.number for turn in await conversations.turns(each.id)] for each in found}
    assert {each.id: each.message_count for each in found} == {
        conversation_id: len(each) for conversation_id, each in numbers.items()
    }
    count = await database.read(lambda c: c.scalar(text("SELECT count(*) FROM lightspeed_turns")))
    assert count == sum(map(len, numbers.values()))
    await database.close()
    return numbers


async def test_two_processes_share_a_database(place: URL) -> None:
    conversation_ids = [new_conversation_id() for _ in range(10)]
    processes = [recorder(place, conversation_ids, 100) for _ in range(2)]
    for process in processes:
        assert process.stdin is not None
        process.stdin.write("go\n")
        process.stdin.flush()
    for process in processes:
        output, errors = await asyncio.to_thread(process.communicate)
        assert (process.returncode, errors) == (0, "")
        assert len(output.splitlines()) == 100
    assert await numbers_by_conversation(place) == {cid: list(range(1, 21)) for cid in conversation_ids}


async def test_a_recorded_turn_survives_a_killed_process(place: URL) -> None:
    chance = random.Random(11)
    acknowledged: set[tuple[str, int]] = set()
    for _ in range(3):
        process = recorder(place, [new_conversation_id() for _ in range(3)], 1_000_000)
        lines = await asyncio.to_thread(lines_before_kill, process, chance.randrange(1, 40))
        for line in lines:
            if line.endswith("\n"):
                conversation_id, number = line.split()
                acknowledged.add((conversation_id, int(number)))
        numbers = await numbers_by_conversation(place)
        assert acknowledged <= {(cid, number) for cid, found in numbers.items() for number in found}


def lines_before_kill(process: subprocess.Popen[str], count: int) -> list[str]:
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.write("go\n")
    process.stdin.flush()
    lines = [process.stdout.readline() for _ in range(count)]
    process.kill()
    rest, _ = process.communicate()
    return [*lines, *rest.splitlines(keepends=True)]
