"""Turns that wait for a person: what is decided of their calls, and who goes on with them."""

import logging
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING
from uuid import uuid4

from lightspeed.assistant.events import WantedApproval
from lightspeed.assistant.generation import Generation
from lightspeed.assistant.held_turn import HeldTurn
from lightspeed.assistant.paused_state import PausedState, UnreadableState
from lightspeed.assistant.planning import WaitingTurn
from lightspeed.assistant.recorder import Recorder
from lightspeed.errors import Conflict, Gone, NotFound
from lightspeed.storage.pause_records import Approval, PausedTurn

if TYPE_CHECKING:
    from lightspeed.storage.approvals import Approvals
    from lightspeed.storage.paused_turns import PausedTurns

logger = logging.getLogger(__name__)

_AT_ONCE = 100


class Pauses:
    """Keeps paused Turns in the database, for any process of the service. All methods raise StorageError."""

    def __init__(
        self,
        turns: "PausedTurns",
        approvals: "Approvals",
        recorder: Recorder,
        *,
        timeout: float,
        lease: float = 60.0,
    ) -> None:
        """`timeout` is how many seconds a person has, and after the last decision whoever goes on.

        A process that goes on holds the turn for `lease` seconds, again and again; once it has died, others may.
        """
        self._turns = turns
        self._approvals = approvals
        self._recorder = recorder
        self._timeout = timedelta(seconds=timeout)
        self._lease = lease

    async def pause(
        self, request_id: str, user_id: str, state: PausedState, generation: Generation
    ) -> tuple[WantedApproval, ...]:
        """Keep a Turn whose generation waits; returns what it waits for."""
        now = datetime.now(UTC)
        expires_at = now + self._timeout
        wanted = [
            WantedApproval(
                call.approval_id,
                call.server_label,
                call.tool_name,
                generation.shown_arguments(call),
                expires_at,
            )
            for call in generation.waiting
        ]
        await self._turns.pause(
            PausedTurn(request_id, state.conversation_id, user_id, state.json(), now, expires_at),
            [
                Approval(
                    id=each.id,
                    request_id=request_id,
                    conversation_id=state.conversation_id,
                    user_id=user_id,
                    server_label=each.server_label,
                    tool_name=each.tool_name,
                    arguments=each.arguments,
                    status="pending",
                    created_at=now,
                    expires_at=expires_at,
                )
                for each in wanted
            ],
        )
        return tuple(wanted)

    async def pending(self, user_id: str, conversation_id: str | None = None) -> list[Approval]:
        """What a user may decide, oldest first; of one conversation, or with None of all."""
        return await self._approvals.pending(user_id, conversation_id, datetime.now(UTC))

    async def approval(self, approval_id: str, user_id: str) -> Approval:
        """A user's own. Raises NotFound, or Gone if nobody has decided in time."""
        approval = await self._approvals.get(approval_id, user_id)
        if approval is None:
            raise NotFound("Approval", approval_id)
        if approval.has_expired(datetime.now(UTC)):
            raise await self._expired(approval)
        return approval

    async def decide(
        self, approval_id: str, user_id: str, *, approve: bool, reason: str | None = None
    ) -> Approval:
        """Decide once. Raises NotFound, Conflict if that has been done, or Gone if it is too late."""
        now = datetime.now(UTC)
        approval, decided = await self._approvals.decide(
            approval_id, user_id, approve=approve, reason=reason, now=now, go_on_until=now + self._timeout
        )
        if approval is None:
            raise NotFound("Approval", approval_id)
        if decided:
            return approval
        if approval.has_expired(now):
            raise await self._expired(approval)
        raise Conflict(
            f"The approval {approval_id} has been decided: {approval.status}.",
            response="Approval already decided",
        )

    async def waiting_in(self, conversation_id: str) -> list[WaitingTurn]:
        """The Turns of a conversation that wait. Those that nobody may go on with any more are ended and recorded."""
        turns = await self._turns.of_conversation(conversation_id)
        if not turns:
            return []
        now = datetime.now(UTC)
        waiting = []
        for turn in turns:
            if turn.expires_at <= now and not turn.is_running(now):
                await self._end(turn.request_id, now)
            else:
                waiting.append(turn)
        approvals = await self._approvals.of_turns([turn.request_id for turn in waiting])
        return [
            WaitingTurn(
                turn.request_id,
                turn.user_id,
                tuple(each.id for each in approvals if _is_pending(each, turn.request_id)),
            )
            for turn in waiting
        ]

    async def decided(self, request_id: str, user_id: str) -> PausedState:
        """A user's own Turn that can go on.

        Raises NotFound; Conflict if it still waits for decisions, goes on already, or has ended; or Gone.
        """
        now = datetime.now(UTC)
        turn = await self._turns.get(request_id)
        approvals = await self._approvals.of_turns([request_id])
        if turn is None or turn.user_id != user_id:
            raise _ended(request_id, user_id, approvals, now)
        if turn.is_running(now):
            raise _goes_on(request_id)
        if turn.expires_at <= now:
            await self._end(request_id, now)
            raise _gone(request_id)
        if pending := [each.id for each in approvals if each.status == "pending"]:
            raise Conflict(
                f"The turn {request_id} waits for the approvals {', '.join(pending)}.",
                response="The turn waits for an approval",
            )
        return await self._state(turn, approvals)

    async def take(self, request_id: str) -> tuple[PausedState, HeldTurn]:
        """Go on with a Turn that is `decided`; nobody else can. Raises Conflict."""
        now, holder = datetime.now(UTC), uuid4().hex
        held = HeldTurn(self._turns, request_id, holder, lease=self._lease, timeout=self._timeout)
        until = now + timedelta(seconds=self._lease)
        turn = await self._turns.take(
            request_id, holder, now=now, until=until, expires_at=until + self._timeout
        )
        if turn is None:
            raise _goes_on(request_id)
        return await self._state(turn, await self._approvals.of_turns([request_id])), held

    async def end_expired(self, now: datetime) -> int:
        """Record and forget the Turns that nobody may go on with any more; returns how many."""
        ended = 0
        while expired := await self._turns.expired(now, _AT_ONCE):
            for turn in expired:
                await self._end(turn.request_id, now)
            ended += len(expired)
        return ended

    async def _state(self, turn: PausedTurn, approvals: Sequence[Approval]) -> PausedState:
        try:
            state = PausedState.read(turn.state)
        except UnreadableState:
            await self._turns.remove(turn.request_id)
            raise _gone(turn.request_id) from None
        decisions = {approval.id: approval for approval in approvals}
        for call in state.earlier.calls:
            if call.approval_id:
                decision = decisions.get(call.approval_id)
                call.approved = decision is not None and decision.status == "approved"
                call.reason = decision.decision_reason if decision else None
        return state

    async def _expired(self, approval: Approval) -> Gone:
        await self._end(approval.request_id, datetime.now(UTC))
        return Gone(
            f"Nobody has decided about the approval {approval.id} until {approval.expires_at:%Y-%m-%dT%H:%M:%SZ}.",
            response="Approval expired",
        )

    async def _end(self, request_id: str, now: datetime) -> None:
        """Record an expired Turn as failed, with all that it had, and forget it."""
        until = now + timedelta(seconds=self._lease)
        turn = await self._turns.take_expired(request_id, uuid4().hex, now=now, until=until)
        if turn is None:
            return
        try:
            state = PausedState.read(turn.state)
        except UnreadableState:
            logger.error("A paused turn of another version cannot be recorded: request %s", request_id)
        else:
            record = state.failed(request_id, turn.user_id, _gone(request_id), now)
            await self._recorder.record(record, begins=state.begins, truncated=state.truncated)
        await self._turns.remove(request_id)


def _is_pending(approval: Approval, request_id: str) -> bool:
    return approval.request_id == request_id and approval.status == "pending"


def _ended(
    request_id: str, user_id: str, approvals: Sequence[Approval], now: datetime
) -> NotFound | Conflict | Gone:
    """What is told of a Turn that does not wait: of foreign ones nothing."""
    own = [approval for approval in approvals if approval.user_id == user_id]
    if not own:
        return NotFound("Turn", request_id)
    if any(approval.has_expired(now) for approval in own):
        return _gone(request_id)
    return Conflict(f"The turn {request_id} has ended.", response="The turn has ended")


def _goes_on(request_id: str) -> Conflict:
    return Conflict(f"The turn {request_id} has been resumed already.", response="The turn goes on already")


def _gone(request_id: str) -> Gone:
    return Gone(f"The turn {request_id} was not approved and resumed in time.", response="Approval expired")
