"""Transcripts come after the answer, and outlive a disk that fails for a while."""

import asyncio
import json
import logging
from pathlib import Path
from typing import Any

import pytest
from anyio import to_thread

from lightspeed.assistant import transcript_writer
from lightspeed.assistant.transcript_writer import TranscriptWriter
from lightspeed.storage.conversations import Conversations
from lightspeed.storage.database import Database
from lightspeed.storage.records import TurnRecord
from lightspeed.storage.transcripts import Transcripts
from lightspeed.telemetry.metrics import Metrics
from tests.assistant.conftest import files_below
from tests.storage.turns import a_turn

pytestmark = pytest.mark.anyio


class Desk:
    def __init__(self, folder: Path) -> None:
        self.folder = folder / "transcripts"
        self.database = Database.in_memory()
        self.conversations = Conversations(self.database)
        self.metrics = Metrics()
        self.transcripts = Transcripts(self.folder)
        self.writer = TranscriptWriter(self.transcripts, self.conversations, self.metrics)

    async def files(self) -> list[Path]:
        return await to_thread.run_sync(files_below, self.folder)

    async def written(self) -> list[Path]:
        """The files, as soon as there is one."""
        async with asyncio.timeout(20):
            while not await self.files():  # noqa: ASYNC110 - a file has no event
                await asyncio.sleep(0.01)
        return await self.files()


@pytest.fixture
async def desk(tmp_path: Path) -> Any:
    desk = Desk(tmp_path)
    await desk.database.open()
    yield desk
    await desk.writer.close()
    await desk.database.close()


async def record(desk: Desk, **changes: Any) -> TurnRecord:
    turn = a_turn(**changes)
    assert await desk.conversations.record(turn, begins=True)
    return turn


async def test_a_transcript_says_whether_the_model_was_told_all(desk: Desk) -> None:
    turn = await record(desk)
    desk.writer.write(turn, truncated=True, recorded=True)
    await desk.writer.close()
    (file,) = await desk.files()
    assert file.stem == turn.request_id
    transcript = json.loads(await to_thread.run_sync(file.read_text))
    assert (transcript["redacted_query"], transcript["truncated"]) == ("List nodes", True)


async def test_a_disk_that_fails_is_tried_again(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(transcript_writer, "_PAUSES", (0.01, 0.3, 20))
    await to_thread.run_sync(desk.folder.write_text, "in the way")
    desk.writer.write(await record(desk), truncated=False, recorded=True)
    await asyncio.sleep(0.05)
    await to_thread.run_sync(desk.folder.unlink)
    assert len(await desk.written()) == 1


async def test_a_transcript_that_no_disk_takes_is_lost_and_counted(
    desk: Desk, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(transcript_writer, "_PAUSES", (0.01, 0.01))
    await to_thread.run_sync(desk.folder.write_text, "in the way")
    with caplog.at_level(logging.ERROR):
        desk.writer.write(await record(desk), truncated=False, recorded=True)
        async with asyncio.timeout(20):
            while "A transcript is lost" not in caplog.text:  # noqa: ASYNC110 - the log has no event
                await asyncio.sleep(0.01)
    exposition = (await to_thread.run_sync(desk.metrics.exposition)).decode()
    assert 'ls_storage_failures_total{kind="transcript"} 1.0' in exposition


async def test_at_the_end_what_waits_for_the_disk_is_tried_at_once(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(transcript_writer, "_PAUSES", (1000,))
    await to_thread.run_sync(desk.folder.write_text, "in the way")
    desk.writer.write(await record(desk), truncated=False, recorded=True)
    await asyncio.sleep(0.1)
    await to_thread.run_sync(desk.folder.unlink)
    await desk.writer.close()
    assert len(await desk.files()) == 1


async def test_a_conversation_that_was_deleted_meanwhile_leaves_no_transcript(desk: Desk) -> None:
    turn, other = await record(desk), await record(desk, request_id="other")
    await desk.conversations.delete([turn.conversation_id])
    desk.writer.write(turn, truncated=False, recorded=True)
    desk.writer.write(other, truncated=False, recorded=True)
    await desk.writer.close()
    (file,) = await desk.files()
    assert file.parent.name == other.conversation_id


async def test_a_deletion_between_record_and_transcript_is_noticed_soon(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(transcript_writer, "_CHECKS_AFTER", 0.05)
    turn = await record(desk)
    await desk.conversations.delete([turn.conversation_id])
    desk.writer.write(turn, truncated=False, recorded=True)
    assert len(await desk.written()) == 1
    async with asyncio.timeout(20):
        while await desk.files():  # noqa: ASYNC110 - a file has no event
            await asyncio.sleep(0.01)


async def test_a_turn_that_is_not_recorded_yet_keeps_its_transcript(desk: Desk) -> None:
    desk.writer.write(a_turn(), truncated=False, recorded=False)
    await desk.writer.close()
    assert len(await desk.files()) == 1


async def test_a_dropped_turn_leaves_no_transcript_though_it_is_being_written(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(transcript_writer, "_PAUSES", (0.1, 0.1, 0.1))
    turn = a_turn()
    await to_thread.run_sync(desk.folder.write_text, "in the way")
    desk.writer.write(turn, truncated=False, recorded=False)
    await asyncio.sleep(0.05)
    await to_thread.run_sync(desk.folder.unlink)
    await desk.writer.drop(turn)
    await asyncio.sleep(0.2)
    assert await desk.files() == []
