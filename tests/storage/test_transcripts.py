import hashlib
import json
import os
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from uuid import UUID

import pytest

from lightspeed.errors import StorageError
from lightspeed.storage.transcripts import Transcripts
from tests.storage.folders import names
from tests.storage.turns import a_turn, following

pytestmark = pytest.mark.anyio


def files(root: Path) -> list[Path]:
    return [path for path in root.rglob("*") if path.is_file()]


async def test_a_turn_becomes_one_file(tmp_path: Path) -> None:
    turn = a_turn()
    await Transcripts(tmp_path).store(turn)
    [path] = files(tmp_path)
    user = hashlib.sha256(b"alice").hexdigest()
    assert path.parent == tmp_path / user / turn.conversation_id
    assert UUID(path.stem).version == 4
    expected = {
        "metadata": {
            "provider": "acme",
            "model": "m1",
            "query_provider": "acme",
            "query_model": "m1",
            "user_id": user,
            "conversation_id": turn.conversation_id,
            "timestamp": "2030-01-02T03:04:09.123456+00:00",
        },
        "redacted_query": "List nodes",
        "query_is_valid": True,
        "llm_response": "Two nodes",
        "rag_chunks": turn.rag_chunks,
        "truncated": False,
        "attachments": turn.attachments,
        "tool_calls": turn.tool_calls,
        "tool_results": turn.tool_results,
    }
    # Compared as text: readers rely on the order.
    assert json.dumps(json.loads(path.read_bytes())) == json.dumps(expected)


async def test_what_was_asked_for_may_differ_from_what_answered(tmp_path: Path) -> None:
    whole_second = datetime(2030, 1, 2, 5, 0, tzinfo=timezone(timedelta(hours=2)))
    turn = a_turn(completed_at=whole_second, status="blocked")
    await Transcripts(tmp_path).store(turn, query_provider="p2", query_model="m2", truncated=True)
    [path] = files(tmp_path)
    written = json.loads(path.read_bytes())
    assert (written["metadata"]["query_provider"], written["metadata"]["query_model"]) == ("p2", "m2")
    assert written["metadata"]["timestamp"] == "2030-01-02T03:00:00.000000+00:00"
    assert written["truncated"] is True
    assert written["query_is_valid"] is True


@pytest.mark.parametrize("conversation_id", ["../../outside", "", ".", "/tmp/x", "A" * 48])
async def test_no_path_is_made_from_what_is_no_id(tmp_path: Path, conversation_id: str) -> None:
    with pytest.raises(ValueError, match="stored form"):
        await Transcripts(tmp_path).store(a_turn(conversation_id=conversation_id))
    assert files(tmp_path) == []


async def test_odd_text_is_written(tmp_path: Path) -> None:
    await Transcripts(tmp_path).store(a_turn(user_id="\ud800", answer="\ud800\x00é"))
    [path] = files(tmp_path)
    assert json.loads(path.read_bytes())["llm_response"] == "\ufffd\ufffdé"


async def test_a_failure_is_a_storage_error(tmp_path: Path) -> None:
    root = tmp_path / "file"
    root.touch()
    with pytest.raises(StorageError):
        await Transcripts(root).store(a_turn())


async def test_no_name_leads_out_of_the_folder(tmp_path: Path) -> None:
    root = tmp_path / "transcripts"
    turn = a_turn(request_id="../../../x")
    await Transcripts(root).store(turn)
    [path] = files(tmp_path)
    assert path.parent.parent.parent == root


async def test_a_conversation_of_one_user_is_removed(tmp_path: Path) -> None:
    transcripts = Transcripts(tmp_path)
    turn = a_turn()
    foreign, other = following(turn, user_id="bob"), a_turn()
    for each in (turn, following(turn), foreign, other):
        await transcripts.store(each)
    assert await transcripts.remove("alice", turn.conversation_id) == 2
    assert await transcripts.remove("alice", turn.conversation_id) == 0
    assert {path.parent.name for path in files(tmp_path)} == {foreign.conversation_id, other.conversation_id}


async def test_a_user_is_removed(tmp_path: Path) -> None:
    transcripts = Transcripts(tmp_path)
    for user_id in ("alice", "alice", "odd\ud800", "bob"):
        await transcripts.store(a_turn(user_id=user_id))
    assert await transcripts.count_user("alice") == 2
    assert await transcripts.remove_user("alice") == 2
    assert await transcripts.count_user("alice") == 0
    # As the database gives it back.
    assert await transcripts.remove_user("odd\ufffd") == 1
    assert len(files(tmp_path)) == 1


@pytest.mark.parametrize("conversation_id", ["", ".", "..", "../..", "/", "A" * 48])
async def test_what_is_no_id_removes_nothing(tmp_path: Path, conversation_id: str) -> None:
    transcripts = Transcripts(tmp_path / "transcripts")
    await transcripts.store(a_turn())
    assert await transcripts.remove("alice", conversation_id) == 0
    assert len(files(tmp_path)) == 1


async def test_old_transcripts_are_removed_and_nothing_else(tmp_path: Path) -> None:
    transcripts = Transcripts(tmp_path)
    await transcripts.store(old := a_turn())
    await transcripts.store(following(old))
    await transcripts.store(a_turn())
    mine, *_ = sorted(path for path in files(tmp_path) if path.parent.name == old.conversation_id)
    foreign = tmp_path / "feedback" / "conversation" / "1.json"
    odd = mine.parent.with_name("notes") / "1.json"
    for path in (foreign, odd):
        path.parent.mkdir(parents=True)
        path.touch()
    for path in (mine, foreign, odd):
        os.utime(path, (0, 0))
    assert await transcripts.remove_older(datetime(2020, 1, 1, tzinfo=UTC)) == 1
    assert not mine.exists()
    assert len(files(tmp_path)) == 4


async def test_what_cannot_be_removed_is_a_storage_error(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    outside = tmp_path / "outside"
    await Transcripts(outside).store(turn := a_turn())
    [user] = names(outside)
    (tmp_path / "root").mkdir()
    (tmp_path / "root" / user).symlink_to(outside / user)
    transcripts = Transcripts(tmp_path / "root")
    for removal in (
        transcripts.remove("alice", turn.conversation_id),
        transcripts.remove_user("alice"),
        transcripts.count_user("alice"),
    ):
        with pytest.raises(StorageError):
            await removal
    assert "Failed to remove transcripts" in caplog.text
    assert len(files(outside)) == 1
