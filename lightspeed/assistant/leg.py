"""What one process does of a Turn: all of it, or from a pause to the next or to the end."""

from dataclasses import dataclass
from datetime import datetime

from lightspeed.assistant.events import Started, Usage
from lightspeed.assistant.generation import Earlier, Generation
from lightspeed.assistant.held_turn import HeldTurn
from lightspeed.assistant.paused_state import PausedState
from lightspeed.assistant.planning import Plan
from lightspeed.assistant.request import TurnRequest
from lightspeed.retrieval.references import Chunk


@dataclass(frozen=True, slots=True)
class Leg:
    """`state` and `held` are there after a pause."""

    request: TurnRequest
    plan: Plan
    state: PausedState | None = None
    held: HeldTurn | None = None

    @property
    def earlier(self) -> Earlier | None:
        return self.state.earlier if self.state else None

    @property
    def spent(self) -> Usage:
        """What the legs before have cost."""
        return self.state.usage if self.state else Usage()

    @property
    def started_at(self) -> datetime | None:
        return self.state.started_at if self.state else None

    @property
    def chunks(self) -> tuple[Chunk, ...]:
        """All passages that the model was given so far."""
        tool = self.plan.knowledge_tool
        return self.plan.prompt.chunks + tuple(tool.found if tool else ())

    def started(self, started_at: datetime) -> Started:
        plan, earlier = self.plan, self.earlier
        return Started(
            plan.conversation_id,
            self.request.request_id,
            plan.model.provider_id,
            plan.model.name,
            started_at,
            (*earlier.tool_calls, *earlier.tool_results) if earlier else (),
        )

    async def keep(self, generation: Generation) -> None:
        """Keep how far the allowed calls have come. Raises Conflict or StorageError."""
        if self.held is None or self.state is None:
            return
        # What the model is told of the round is kept as it was: only its calls have come further.
        state = PausedState.of(
            self.request, self.plan, generation, self.chunks, self.state.usage, self.state.started_at
        )
        await self.held.keep(state.json())

    async def may_be_recorded(self, generation: Generation) -> bool:
        """False if nothing was done yet, so that others may go on with the Turn, or if it is not ours any more."""
        if self.held is None:
            return True
        if not generation.touched:
            await self.held.let_go()
            return False
        return await self.held.is_mine()
