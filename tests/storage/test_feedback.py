import json
import os
import re
from datetime import UTC, datetime
from pathlib import Path
from uuid import UUID, uuid4

import pytest

from lightspeed.errors import StorageError
from lightspeed.storage.feedback import FeedbackStore
from tests.storage.folders import names

pytestmark = pytest.mark.anyio

FIELDS = {
    "categories": ["incorrect"],
    "conversation_id": "a" * 48,
    "user_question": "List nodes",
    "llm_response": "Two nodes",
}


async def test_feedback_becomes_one_file(tmp_path: Path) -> None:
    await FeedbackStore(tmp_path / "feedback").store("alice", FIELDS)
    [path] = (tmp_path / "feedback").iterdir()
    assert path.suffix == ".json"
    assert UUID(path.stem).version == 4
    written = json.loads(path.read_bytes())
    assert list(written) == [
        "user_id",
        "timestamp",
        "conversation_id",
        "user_question",
        "llm_response",
        "sentiment",
        "user_feedback",
        "categories",
    ]
    assert re.fullmatch(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\.\d{6}\+00:00", written.pop("timestamp"))
    assert written == {"user_id": "alice", "sentiment": None, "user_feedback": None, **FIELDS}


async def test_a_failure_names_the_directory(tmp_path: Path) -> None:
    root = tmp_path / "file"
    root.touch()
    with pytest.raises(StorageError) as raised:
        await FeedbackStore(root).store("alice", FIELDS)
    assert raised.value.status == 500
    assert raised.value.response == "Failed to store feedback"
    assert raised.value.cause == f"Failed to store feedback at directory: {root}"


def kept(root: Path) -> list[tuple[str, str]]:
    """Who has said something of which conversation."""
    found = [json.loads(path.read_bytes()) for path in root.glob("*.json")]
    return sorted((each["user_id"], each["conversation_id"]) for each in found)


async def test_what_was_said_of_conversations_is_removed(tmp_path: Path) -> None:
    store = FeedbackStore(tmp_path)
    native, dashed = "a" * 48, "123e4567-e89b-42d3-a456-426614174000"
    spellings = [native, native.upper(), f"conv_{native}", dashed, dashed.replace("-", ""), "b" * 48, "x"]
    for spelling in spellings:
        await store.store("alice", FIELDS | {"conversation_id": spelling})
    assert await store.remove_conversations([native]) == 3
    assert await store.remove_conversations([dashed, native, "c" * 48]) == 2
    assert await store.remove_conversations([]) == 0
    assert kept(tmp_path) == [("alice", "b" * 48), ("alice", "x")]


async def test_what_a_user_has_said_is_removed(tmp_path: Path) -> None:
    store = FeedbackStore(tmp_path)
    for user_id in ("alice", "alice", "odd\ud800", "bob", "alice2"):
        await store.store(user_id, FIELDS | {"user_question": "What does alice say?"})
    assert await store.count_user("alice") == 2
    assert await store.remove_user("alice") == 2
    assert await store.remove_user("odd\ud800") == 1
    assert [user_id for user_id, _ in kept(tmp_path)] == ["alice2", "bob"]


async def test_old_feedback_is_removed_and_nothing_else(tmp_path: Path) -> None:
    store = FeedbackStore(tmp_path)
    await store.store("alice", FIELDS)
    [name] = names(tmp_path)
    old = tmp_path / name
    await store.store("bob", FIELDS)
    others = [tmp_path / "package.json", tmp_path / "deeper" / name, old.with_suffix(".txt")]
    for path in others:
        path.parent.mkdir(exist_ok=True)
        path.touch()
    for path in (old, *others):
        os.utime(path, (0, 0))
    assert await store.remove_older(datetime(2020, 1, 1, tzinfo=UTC)) == 1
    assert not old.exists()
    assert all(path.exists() for path in others)


async def test_what_is_no_feedback_is_left_alone(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    root = tmp_path / "feedback"
    store = FeedbackStore(root)
    await store.store("alice", FIELDS)
    outside = tmp_path / "outside.json"
    outside.write_text('{"user_id": "alice"}')
    odd = [f"{uuid4()}.json" for _ in range(5)]
    for name, content in zip(odd, ("", "[]", '"alice"', '{"user_id": "alice"'), strict=False):
        (root / name).write_text(content)
    (root / odd[4]).symlink_to(outside)
    (root / "other.json").write_text('{"user_id": "alice"}')
    assert await store.remove_user("alice") == 1
    assert set(names(root)) == {*odd, "other.json"}
    assert outside.exists()
    assert odd[3] in caplog.text


async def test_without_a_folder_there_is_nothing(tmp_path: Path) -> None:
    store = FeedbackStore(tmp_path / "missing")
    assert await store.remove_user("alice") == 0
    assert await store.remove_older(datetime.now(UTC)) == 0
    (tmp_path / "missing").touch()
    with pytest.raises(StorageError):
        await store.remove_user("alice")
