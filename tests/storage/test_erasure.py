import json
import os
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import anyio
import pytest

from lightspeed.configuration.retention import RetentionConfiguration
from lightspeed.errors import StorageError
from lightspeed.storage.approvals import Approval
from lightspeed.storage.conversations import Conversations
from lightspeed.storage.database import Database
from lightspeed.storage.erasure import Erasure
from lightspeed.storage.feedback import FeedbackStore
from lightspeed.storage.paused_turns import PausedTurn, PausedTurns
from lightspeed.storage.pending import PendingTurn, PendingTurns
from lightspeed.storage.records import TurnRecord
from lightspeed.storage.retention import Retention
from lightspeed.storage.transcripts import Transcripts
from tests.storage.turns import a_turn

pytestmark = pytest.mark.anyio


class Kept:
    """Everything that erasure reaches, on one database and in one folder."""

    def __init__(self, conversations: Conversations, folder: Path) -> None:
        self.folder = folder
        self.conversations = conversations
        self.pending = PendingTurns(folder / "pending")
        self.transcripts = Transcripts(folder / "transcripts")
        self.feedback = FeedbackStore(folder / "feedback")
        self.erasure = Erasure(
            conversations, self.pending, transcripts=self.transcripts, feedback=self.feedback
        )

    async def keep(self, turn: TurnRecord, *, begins: bool = True, waits: bool = True) -> TurnRecord:
        await self.conversations.record(turn, begins=begins)
        await self.transcripts.store(turn)
        fields = {"conversation_id": turn.conversation_id, "user_question": "q", "llm_response": "r"}
        await self.feedback.store(turn.user_id, fields | {"sentiment": 1})
        if waits:
            waiting = replace(turn, request_id=f"{turn.request_id}-waiting")
            await self.pending.add(PendingTurn(waiting, begins=False))
        return turn

    def files_about(self, conversation_id: str) -> int:
        return sum(
            conversation_id in path.read_text() for path in self.folder.rglob("*") if path.is_file()
            and path.suffix in {".json", ".pending"}
        )  # fmt: skip


@pytest.fixture
def kept(conversations: Conversations, tmp_path: Path) -> Kept:
    return Kept(conversations, tmp_path / "state")


async def test_a_conversation_goes_with_all_that_belongs_to_it(kept: Kept) -> None:
    gone = await kept.keep(a_turn())
    guest = replace(gone, request_id="guest", user_id="bob")
    await kept.keep(guest, begins=False)
    stays = await kept.keep(a_turn())
    assert kept.files_about(gone.conversation_id) == 6

    assert await kept.erasure.conversation(gone.conversation_id)

    assert kept.files_about(gone.conversation_id) == 0
    assert await kept.conversations.get(gone.conversation_id) is None
    assert await kept.conversations.turns(gone.conversation_id) == []
    assert kept.files_about(stays.conversation_id) == 3
    assert len(await kept.conversations.turns(stays.conversation_id)) == 1
    assert not await kept.erasure.conversation(gone.conversation_id)


async def test_turns_that_wait_for_a_person_go_with_their_conversation_and_their_user(
    database: Database, kept: Kept
) -> None:
    paused, now = PausedTurns(database), datetime.now(UTC)
    erasure = Erasure(kept.conversations, kept.pending, transcripts=None, feedback=None, paused=paused)
    own, other = await kept.keep(a_turn(user_id="alice")), await kept.keep(a_turn(user_id="bob"))

    async def pause(request_id: str, conversation_id: str, user_id: str) -> None:
        turn = PausedTurn(request_id, conversation_id, user_id, {}, now, now)
        wanted = Approval(
            request_id, request_id, conversation_id, user_id, "ops", "wipe", {}, "pending", now, now
        )
        await paused.pause(turn, [wanted])

    for number, (conversation_id, user_id) in enumerate(
        [
            (own.conversation_id, "alice"),
            (other.conversation_id, "alice"),
            (other.conversation_id, "bob"),
            ("new", "carol"),
        ]
    ):
        await pause(str(number), conversation_id, user_id)
    assert (await erasure.found("alice")).approvals == 2
    assert (await erasure.user("alice")).approvals == 2
    assert await paused.participants(own.conversation_id) == set()
    assert await paused.participants(other.conversation_id) == {"bob"}
    assert await erasure.conversation(other.conversation_id)
    assert await paused.participants(other.conversation_id) == set()
    assert not await erasure.paused_conversation("new", "bob")
    assert await erasure.paused_conversation("new", "carol")
    assert await paused.participants("new") == set()


async def test_a_user_goes_everywhere_and_leaves_the_conversations_of_others(kept: Kept) -> None:
    own = await kept.keep(a_turn(user_id="alice"))
    others = await kept.keep(a_turn(user_id="bob"))
    asked = replace(others, request_id="alice-asks", user_id="alice", query="my secret")
    await kept.keep(asked, begins=False)
    found = await kept.erasure.found("alice")
    assert (found.conversations, found.turns, found.transcripts, found.feedback, found.pending) == (
        1,
        1,
        2,
        2,
        2,
    )

    erased = await kept.erasure.user("alice")

    assert erased == found
    assert await kept.conversations.get(own.conversation_id) is None
    left = await kept.conversations.turns(others.conversation_id)
    assert [(turn.number, turn.user_id, turn.query) for turn in left] == [
        (1, "bob", "List nodes"),
        (2, "", ""),
    ]
    assert "my secret" not in "".join(path.read_text() for path in kept.folder.rglob("*.json"))
    assert not await kept.erasure.found("alice")
    assert await kept.erasure.found("bob")


async def test_files_that_are_no_feedback_are_left_alone(kept: Kept) -> None:
    await kept.keep(a_turn())
    odd = kept.folder / "feedback" / "odd.json"
    for content in ('"alice"', '["alice"]', '{"user_id": "alice"', '{"user_id": ["alice"]}'):
        odd.write_text(content)
        await kept.erasure.user("alice")
        assert odd.read_text() == content


async def test_a_link_is_never_followed_out_of_the_folder(kept: Kept, tmp_path: Path) -> None:
    turn = await kept.keep(a_turn())
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "precious.json").write_text(json.dumps({"user_id": "alice"}))
    [user] = (kept.folder / "transcripts").iterdir()
    (user / turn.conversation_id / "link").symlink_to(outside)
    (kept.folder / "transcripts" / "link").symlink_to(outside)
    old = datetime.now(UTC) - timedelta(days=9)
    os.utime(outside / "precious.json", (old.timestamp(), old.timestamp()))
    await kept.erasure.conversation(turn.conversation_id)
    await kept.erasure.user("alice")
    await kept.erasure.transcripts_before(datetime.now(UTC))
    assert (outside / "precious.json").exists()


async def test_retention_removes_what_is_older_and_nothing_else(kept: Kept) -> None:
    now = datetime.now(UTC)
    before, after = now - timedelta(days=31), now - timedelta(days=29)
    old = await kept.keep(a_turn(started_at=before, completed_at=before), waits=False)
    young = await kept.keep(a_turn(started_at=before, completed_at=after), waits=False)
    waits = await kept.keep(a_turn(started_at=before, completed_at=before))
    removed = await Retention(kept.erasure, RetentionConfiguration(conversations_days=30)).apply(now)
    assert removed.conversations == 1
    assert kept.files_about(old.conversation_id) == 0
    assert kept.files_about(young.conversation_id) == 2
    assert [found.id for found in await kept.conversations.newest(None)] == [
        young.conversation_id,
        waits.conversation_id,
    ]
    assert not await Retention(kept.erasure, RetentionConfiguration()).apply(now)


async def test_files_go_by_their_own_age(kept: Kept) -> None:
    now = datetime.now(UTC)
    turn = await kept.keep(a_turn(started_at=now, completed_at=now))
    files = [*(kept.folder / "transcripts").rglob("*.json"), *(kept.folder / "feedback").rglob("*.json")]
    assert len(files) == 2
    for file in files:
        os.utime(file, (now.timestamp() - 8 * 86400,) * 2)
    settings = RetentionConfiguration(transcripts_days=7, feedback_days=9)
    removed = await Retention(kept.erasure, settings).apply(now)
    assert (removed.conversations, removed.transcripts, removed.feedback) == (0, 1, 0)
    assert await kept.conversations.get(turn.conversation_id)
    assert list((kept.folder / "transcripts").rglob("*")) == []


async def test_a_database_that_fails_does_not_keep_old_files(
    kept: Kept, caplog: pytest.LogCaptureFixture
) -> None:
    now = datetime.now(UTC)
    await kept.keep(a_turn(started_at=now, completed_at=now))
    for file in kept.folder.rglob("*.json"):
        os.utime(file, (now.timestamp() - 8 * 86400,) * 2)
    await kept.conversations._database.close()
    settings = RetentionConfiguration(conversations_days=1, transcripts_days=7, feedback_days=7)
    with pytest.raises(StorageError):
        await Retention(kept.erasure, settings).apply(now)
    assert list(kept.folder.rglob("*.json")) == []


async def test_the_loop_outlives_its_failures(kept: Kept, caplog: pytest.LogCaptureFixture) -> None:
    now = datetime.now(UTC)
    await kept.keep(
        a_turn(started_at=now - timedelta(days=9), completed_at=now - timedelta(days=9)), waits=False
    )
    await kept.conversations._database.close()
    retention = Retention(
        kept.erasure, RetentionConfiguration(conversations_days=1), first_after=0, every=0.01
    )
    async with anyio.create_task_group() as group:
        group.start_soon(retention.run)
        with anyio.fail_after(20):
            while "cannot be removed now" not in caplog.text:  # noqa: ASYNC110 - nobody tells
                await anyio.sleep(0.01)
            await kept.conversations._database.open()
            while await kept.conversations.newest(None):  # noqa: ASYNC110
                await anyio.sleep(0.01)
        group.cancel_scope.cancel()
