import os
from datetime import timedelta
from pathlib import Path

import pytest

from lightspeed.storage.pending import PendingTurn, PendingTurns
from lightspeed.storage.records import TurnRecord
from tests.storage.folders import names
from tests.storage.turns import START, a_turn, following

pytestmark = pytest.mark.anyio


def ended(minute: int, **changes: object) -> PendingTurn:
    return PendingTurn(a_turn(completed_at=START + timedelta(minutes=minute), **changes), begins=True)


async def waiting(pending: PendingTurns) -> list[TurnRecord]:
    return [each.turn for each in await pending.oldest(100)]


async def test_turns_survive_the_process_oldest_first(tmp_path: Path) -> None:
    turns = [ended(minute) for minute in (3, 1, 2)]
    turns[1] = PendingTurn(following(turns[1].turn, error={"cause": "x"}, answer="é\x00"), begins=False)
    pending = PendingTurns(tmp_path / "pending")
    assert await pending.oldest(5) == []
    assert [await pending.add(turn) for turn in turns] == [True, True, True]
    later = PendingTurns(tmp_path / "pending")
    assert await later.oldest(5) == [turns[1], turns[2], turns[0]]
    assert await later.oldest(1) == [turns[1]]
    await later.remove(turns[1].turn)
    await later.remove(turns[1].turn)
    assert await pending.oldest(5) == [turns[2], turns[0]]
    assert await pending.participants() == {
        turn.turn.conversation_id: {"alice"} for turn in (turns[0], turns[2])
    }


async def test_what_is_added_twice_waits_once(tmp_path: Path) -> None:
    pending, turn = PendingTurns(tmp_path), ended(1)
    await pending.add(turn)
    await pending.add(turn)
    assert await pending.oldest(5) == [turn]


async def test_without_a_disk_turns_wait_in_memory(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    folder = tmp_path / "pending"
    folder.touch()
    pending, turns = PendingTurns(folder), [ended(2), ended(1)]
    assert [await pending.add(turn) for turn in turns] == [False, False]
    assert "cannot be written" in caplog.text
    folder.unlink()
    assert await pending.oldest(5) == [turns[1], turns[0]]
    assert await pending.add(turns[0])
    assert await pending.oldest(5) == [turns[1], turns[0]]
    await pending.remove(turns[1].turn)
    assert await pending.oldest(5) == [turns[0]]


async def test_a_damaged_file_is_set_aside_and_holds_nobody_up(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    pending, turn = PendingTurns(tmp_path), ended(1)
    (tmp_path / "0-a.pending").write_text("{")
    (tmp_path / "0-b.pending").mkdir()
    (tmp_path / "notes.txt").touch()
    await pending.add(turn)
    assert await pending.oldest(5) == [turn]
    assert "0-a.pending is damaged" in caplog.text
    assert {"0-a.unreadable", "0-b.pending", "notes.txt"} < set(names(tmp_path))


async def test_no_name_leads_out_of_the_folder(tmp_path: Path) -> None:
    pending = PendingTurns(tmp_path / "pending")
    turns = [PendingTurn(a_turn(request_id=odd), begins=True) for odd in ("../../x", "a/b", "\ud800", "")]
    for turn in turns:
        assert await pending.add(turn)
    assert names(tmp_path) == ["pending"]
    assert len(names(tmp_path / "pending")) == 4
    for turn in turns:
        await pending.remove(turn.turn)
    assert names(tmp_path / "pending") == []


async def test_what_belongs_to_a_user_or_a_conversation_is_discarded(tmp_path: Path) -> None:
    folder = tmp_path / "pending"
    pending = PendingTurns(folder)
    kept = ended(1, user_id="bob")
    mine = [ended(2), ended(3), ended(4, user_id="odd\ud800")]
    for turn in (kept, *mine):
        await pending.add(turn)
    os.rename(folder, tmp_path / "away")  # noqa: PTH104 - nothing waits for this
    folder.touch()
    in_memory = ended(5)
    await pending.add(in_memory)
    folder.unlink()
    os.rename(tmp_path / "away", folder)  # noqa: PTH104

    assert await pending.count_user("alice") == 3
    assert await pending.discard_conversation(mine[0].turn.conversation_id) == 1
    assert await pending.discard_conversation(mine[0].turn.conversation_id) == 0
    assert await pending.discard_user("alice") == 2
    assert await pending.discard_user("odd\ud800") == 1
    assert await waiting(pending) == [kept.turn]
