import json
import re
from pathlib import Path
from uuid import UUID

import pytest

from lightspeed.errors import StorageError
from lightspeed.storage.feedback import FeedbackStore

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
