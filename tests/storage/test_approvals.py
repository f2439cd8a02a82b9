import asyncio
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import pytest

from lightspeed.storage.approvals import Approval, Approvals
from lightspeed.storage.database import Database
from lightspeed.storage.paused_turns import PausedTurn, PausedTurns

pytestmark = pytest.mark.anyio

NOW = datetime(2030, 1, 2, 3, 4, 5, 678901, tzinfo=UTC)
SOON, LATER = NOW + timedelta(minutes=5), NOW + timedelta(hours=1)


class Kept:
    """Both tables."""

    def __init__(self, database: Database) -> None:
        self.turns = PausedTurns(database)
        self.approvals = Approvals(database)

    async def pause(self, *, approvals: int = 1, **changes: Any) -> tuple[PausedTurn, list[Approval]]:
        turn = PausedTurn(str(uuid4()), "c1", "alice", {"text": "a \x00 b"}, NOW, SOON)
        turn = replace(turn, **changes)
        waiting = [
            Approval(
                id=str(uuid4()),
                request_id=turn.request_id,
                conversation_id=turn.conversation_id,
                user_id=turn.user_id,
                server_label="ops",
                tool_name="wipe",
                arguments={"host": "n1"},
                status="pending",
                created_at=NOW + timedelta(seconds=number),
                expires_at=SOON,
            )
            for number in range(approvals)
        ]
        await self.turns.pause(turn, waiting)
        return turn, waiting

    async def decide(self, approval: Approval, **changes: Any) -> tuple[Approval | None, bool]:
        values = {"approve": True, "reason": None, "now": NOW, "go_on_until": LATER} | changes
        user_id = values.pop("user_id", approval.user_id)
        return await self.approvals.decide(approval.id, user_id, **values)

    async def take(self, turn: PausedTurn, holder: str, now: datetime = NOW) -> PausedTurn | None:
        until = now + timedelta(minutes=1)
        return await self.turns.take(turn.request_id, holder, now=now, until=until, expires_at=LATER)


@pytest.fixture
def kept(database: Database) -> Kept:
    return Kept(database)


async def test_what_waits_is_found_as_it_was_kept(kept: Kept) -> None:
    turn, waiting = await kept.pause(approvals=2)
    other, _ = await kept.pause(conversation_id="c2")
    await kept.pause(user_id="bob")
    assert await kept.turns.get(turn.request_id) == turn
    assert await kept.turns.get("unknown") is None
    assert [found.request_id for found in await kept.turns.of_conversation("c2")] == [other.request_id]
    assert await kept.approvals.pending("alice", "c1", NOW) == waiting
    assert len(await kept.approvals.pending("alice", None, NOW)) == 3
    assert await kept.approvals.pending("alice", None, SOON) == []
    assert await kept.approvals.get(waiting[0].id, "alice") == waiting[0]
    assert await kept.approvals.get(waiting[0].id, "bob") is None


async def test_of_many_decisions_at_once_one_counts(kept: Kept) -> None:
    _, (waiting,) = await kept.pause()
    decided = await asyncio.gather(
        *(kept.decide(waiting, approve=bool(n % 2), reason=str(n)) for n in range(6))
    )
    (winner,) = [approval for approval, first in decided if first]
    assert winner is not None
    assert winner.status in ("approved", "denied")
    assert winner.decided_at == NOW
    assert await kept.approvals.get(waiting.id, "alice") == winner


async def test_a_decision_is_the_users_own_and_in_time(kept: Kept) -> None:
    _, (waiting,) = await kept.pause()
    assert await kept.decide(waiting, user_id="bob") == (None, False)
    late, decided = await kept.decide(waiting, now=SOON)
    assert not decided
    assert late is not None
    assert late.has_expired(SOON)
    assert (await kept.decide(waiting, reason="a \x00 b"))[1]


async def test_the_last_decision_gives_time_to_go_on(kept: Kept) -> None:
    turn, (one, two) = await kept.pause(approvals=2)

    async def expires_at() -> datetime:
        found = await kept.turns.get(turn.request_id)
        assert found is not None
        return found.expires_at

    await kept.decide(one)
    assert await expires_at() == SOON
    await kept.decide(two, approve=False)
    assert await expires_at() == LATER


async def test_two_last_decisions_at_once_give_time_to_go_on(kept: Kept) -> None:
    turn, waiting = await kept.pause(approvals=4)
    await asyncio.gather(*map(kept.decide, waiting))
    found = await kept.turns.get(turn.request_id)
    assert found is not None
    assert found.expires_at == LATER


async def test_one_holder_at_a_time(kept: Kept) -> None:
    turn, _ = await kept.pause()
    taken = await asyncio.gather(*(kept.take(turn, f"p{number}") for number in range(5)))
    (held,) = [found for found in taken if found is not None]
    holder = held.resumed_by
    assert holder is not None
    assert held.expires_at == LATER
    assert held.is_running(NOW)
    assert await kept.turns.is_held(turn.request_id, holder)
    assert await kept.turns.keep(turn.request_id, holder, {"text": "further"})
    assert not await kept.turns.keep(turn.request_id, "other", {"text": "stolen"})
    # Its process has died.
    after = NOW + timedelta(minutes=1)
    found = await kept.take(turn, "next", after)
    assert found is not None
    assert found.state == {"text": "further"}
    assert not await kept.turns.keep(turn.request_id, holder, {})
    assert not await kept.turns.hold_on(turn.request_id, holder, until=LATER, expires_at=LATER)
    assert await kept.turns.hold_on(turn.request_id, "next", until=LATER, expires_at=LATER)
    assert await kept.take(turn, "third", after + timedelta(minutes=5)) is None
    assert await kept.turns.let_go(turn.request_id, "next")
    assert await kept.take(turn, "third", after) is not None


async def test_an_expired_turn_is_taken_only_to_end_it(kept: Kept) -> None:
    turn, (waiting,) = await kept.pause()
    until = SOON + timedelta(minutes=1)
    assert await kept.turns.take_expired(turn.request_id, "p", now=NOW, until=until) is None
    assert await kept.turns.expired(NOW, 10) == []
    assert await kept.take(turn, "p", SOON) is None
    assert [found.request_id for found in await kept.turns.expired(SOON, 10)] == [turn.request_id]
    assert await kept.turns.take_expired(turn.request_id, "p", now=SOON, until=until) is not None
    assert await kept.turns.expired(SOON, 10) == []
    await kept.turns.remove(turn.request_id)
    found = await kept.approvals.get(waiting.id, "alice")
    assert found is not None
    assert found.status == "expired"


async def test_old_decisions_go_and_those_of_waiting_turns_stay(kept: Kept) -> None:
    _, (of_waiting,) = await kept.pause()
    ended, (decided,) = await kept.pause()
    forgotten, (expired,) = await kept.pause()
    for approval in (of_waiting, decided):
        await kept.decide(approval)
    await kept.turns.remove(ended.request_id)
    await kept.turns.remove(forgotten.request_id)
    limits = {"decided_before": NOW, "expired_before": SOON}
    assert await kept.approvals.remove_old(**limits) == 0
    assert await kept.approvals.remove_old(**limits | {"expired_before": LATER}) == 1
    assert await kept.approvals.get(expired.id, "alice") is None
    assert await kept.approvals.remove_old(**limits | {"decided_before": LATER}) == 1
    assert await kept.approvals.get(of_waiting.id, "alice") is not None


async def test_a_user_and_a_conversation_are_erased(kept: Kept) -> None:
    turn, _ = await kept.pause(approvals=2)
    bobs, _ = await kept.pause(user_id="bob")
    other, _ = await kept.pause(user_id="bob", conversation_id="c2")
    assert await kept.turns.participants("c1") == {"alice", "bob"}
    assert (await kept.turns.count_user("alice"), await kept.turns.count_user("carol")) == (2, 0)
    assert await kept.turns.erase_user("alice") == 2
    assert await kept.turns.get(turn.request_id) is None
    assert await kept.approvals.of_turns([turn.request_id]) == []
    assert await kept.turns.erase_conversations(["c1"]) == 1
    assert await kept.turns.get(bobs.request_id) is None
    assert await kept.turns.get(other.request_id) == other
