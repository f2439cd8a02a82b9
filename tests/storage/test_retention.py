import asyncio
import logging
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from sqlalchemy import URL

from lightspeed.configuration.retention import RetentionConfiguration
from lightspeed.storage.conversations import Conversations
from lightspeed.storage.database import Database
from lightspeed.storage.erasure import ErasedData, Erasure
from lightspeed.storage.feedback import FeedbackStore
from lightspeed.storage.pending import PendingTurns
from lightspeed.storage.retention import Retention
from lightspeed.storage.transcripts import Transcripts
from tests.storage.folders import names
from tests.storage.turns import START, a_turn, begun, following, ids

pytestmark = pytest.mark.anyio

NOW = START + timedelta(days=100)
YEARLY = RetentionConfiguration(conversations_days=100)


def erasure_in(folder: Path, conversations: Conversations) -> Erasure:
    return Erasure(
        conversations,
        PendingTurns(folder / "pending"),
        transcripts=Transcripts(folder / "transcripts"),
        feedback=FeedbackStore(folder / "feedback"),
    )


async def test_many_conversations_go_and_only_those_that_are_old_enough(
    conversations: Conversations, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with asyncio.TaskGroup() as tasks:
        for minute in range(-250, 0):
            tasks.create_task(begun(conversations, minute))
    young = await begun(conversations, 0)
    retention = Retention(erasure_in(tmp_path, conversations), YEARLY)
    with caplog.at_level(logging.INFO):
        assert await retention.apply(NOW) == ErasedData(conversations=250)
        assert await retention.apply(NOW) == ErasedData()
    assert ids(await conversations.newest(None)) == [young]
    told = [record.message for record in caplog.records if record.name == "lightspeed.storage.retention"]
    assert told == ["Removed for their age: 250 conversations, 0 transcripts, 0 feedback"]


async def test_several_at_once_remove_each_conversation_once(place: URL, tmp_path: Path) -> None:
    databases = [Database(place) for _ in range(3)]
    first = Conversations(databases[0])
    for minute in range(-40, 0):
        await begun(first, minute)
    retentions = [Retention(erasure_in(tmp_path, Conversations(database)), YEARLY) for database in databases]
    removed = await asyncio.gather(*(retention.apply(NOW) for retention in retentions))
    assert sum(each.conversations for each in removed) == 40
    assert await first.newest(None) == []
    for database in databases:
        await database.close()


async def test_files_that_cannot_be_removed_keep_only_their_own_conversation(
    conversations: Conversations, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    stuck = await begun(conversations, -3, user_id="mallory")
    gone = await begun(conversations, -2)
    transcripts, elsewhere = Transcripts(tmp_path / "transcripts"), Transcripts(tmp_path / "elsewhere")
    await elsewhere.store(a_turn(conversation_id=stuck, user_id="mallory"))
    await transcripts.store(a_turn(conversation_id=gone))
    [user] = names(tmp_path / "elsewhere")
    (tmp_path / "transcripts" / user).symlink_to(tmp_path / "elsewhere" / user)

    removed = await Retention(erasure_in(tmp_path, conversations), YEARLY).apply(NOW)

    assert removed.conversations == 1
    assert ids(await conversations.newest(None)) == [stuck]
    assert "Failed to remove transcripts" in caplog.text
    assert names(tmp_path / "transcripts") == [user]
    assert await elsewhere.count_user("mallory") == 1


async def test_guests_lose_their_files_of_an_old_conversation_and_no_others(
    conversations: Conversations, tmp_path: Path
) -> None:
    old = await begun(conversations, -9)
    guest = a_turn(conversation_id=old, user_id="bob", completed_at=START - timedelta(minutes=5))
    await conversations.record(guest, begins=False)
    transcripts, feedback = Transcripts(tmp_path / "transcripts"), FeedbackStore(tmp_path / "feedback")
    await transcripts.store(guest)
    await transcripts.store(a_turn(user_id="bob"))
    await feedback.store("bob", {"conversation_id": old})
    await feedback.store("bob", {"conversation_id": "b" * 48})
    await Retention(erasure_in(tmp_path, conversations), YEARLY).apply(NOW)
    assert await transcripts.count_user("bob") == 1
    assert await feedback.count_user("bob") == 1


async def test_turns_that_are_asked_meanwhile_are_kept(conversations: Conversations, tmp_path: Path) -> None:
    turns = [a_turn(completed_at=START - timedelta(minutes=minute)) for minute in range(1, 30)]
    for turn in turns:
        await conversations.record(turn, begins=True)
    retention = Retention(erasure_in(tmp_path, conversations), YEARLY)
    later = [following(turn, completed_at=NOW) for turn in turns]
    *recorded, removed = await asyncio.gather(
        *(conversations.record(turn, begins=False) for turn in later), retention.apply(NOW)
    )
    continued = {turn.conversation_id for turn in recorded if turn}
    assert set(ids(await conversations.newest(None))) == continued
    assert removed.conversations == len(turns) - len(continued)


async def test_an_age_that_nothing_can_reach_removes_nothing(
    conversations: Conversations, tmp_path: Path
) -> None:
    await begun(conversations, 0)
    for days in (365 * 3000, 10**12):
        settings = RetentionConfiguration(conversations_days=days, transcripts_days=days, feedback_days=days)
        assert not await Retention(erasure_in(tmp_path, conversations), settings).apply(datetime.now(UTC))
    assert len(await conversations.newest(None)) == 1
