"""Going on with a Turn that has waited for a person."""

from collections.abc import Sequence

from lightspeed.assistant.leg import Leg
from lightspeed.assistant.paused_state import PausedState
from lightspeed.assistant.pauses import Pauses
from lightspeed.assistant.planning import Plan, Planner
from lightspeed.assistant.prompt import Prompt, room_after
from lightspeed.assistant.request import ResumeRequest, TurnRequest
from lightspeed.errors import NotFound
from lightspeed.tools.tool import Tool


class Resuming:
    """Finds what is needed to go on, in the database and with the credentials of the new request."""

    def __init__(self, planner: Planner, pauses: Pauses | None) -> None:
        self._planner = planner
        self._pauses = pauses

    async def leg(self, request: ResumeRequest) -> Leg:
        """The rest of the Turn, which nobody else can begin any more.

        Raises NotFound, Conflict, Gone, StorageError, or Unauthorized where a server wants the caller to log in.
        """
        if self._pauses is None:
            raise NotFound("Turn", request.request_id)
        found = await self._pauses.decided(request.request_id, request.user_id)
        knowledge_tool = self._planner.knowledge_tool(found.stores, found.portal, found.room)
        # Before it is taken: without its tools it could not go on, and another request may bring them.
        offered = await self._planner.tools(request.user_id, request.caller, knowledge_tool, found.skills)
        if knowledge_tool is not None and not found.room_is_known:
            knowledge_tool.room = await self._room(found, offered.tools)
        state, held = await self._pauses.take(request.request_id)
        plan = Plan(
            conversation_id=state.conversation_id,
            begins=state.begins,
            model=state.model,
            prompt=Prompt(state.messages, state.chunks, state.truncated),
            truncated=state.truncated,
            knowledge_tool=knowledge_tool,
            retrieval_seconds=0.0,
            tools=offered.tools,
            troubles=offered.troubles,
            skills=state.skills,
        )
        return Leg(_turn_request(request, state), plan, state, held)

    async def _room(self, state: PausedState, tools: Sequence[Tool]) -> int | None:
        window = await self._planner.context_window(state.model.identifier)
        outcomes = [{"content": call.outcome.for_model} for call in state.earlier.calls if call.outcome]
        return room_after([*state.messages, *outcomes], [tool.definition for tool in tools], window)


def _turn_request(request: ResumeRequest, state: PausedState) -> TurnRequest:
    return TurnRequest(
        request_id=request.request_id,
        user_id=request.user_id,
        query=state.query,
        face=request.face,
        stream=request.stream,
        conversation_id=None if state.begins else state.conversation_id,
        attachments=state.attachments,
        portal=state.portal,
        generate_topic_summary=state.wants_name,
        caller=request.caller,
    )
