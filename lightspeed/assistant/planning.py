"""What is decided of a Turn before the model is asked."""

import time
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from lightspeed.assistant.knowledge_tool import KnowledgeTool
from lightspeed.assistant.model_choice import choose_model
from lightspeed.assistant.prompt import Exchange, Prompt, compose, passage_room
from lightspeed.assistant.recorder import Recorder
from lightspeed.assistant.request import Attachment, TurnRequest
from lightspeed.assistant.settings import AssistantSettings
from lightspeed.assistant.skill_shelf import SkillShelf, active_skills
from lightspeed.assistant.tool_offers import OfferedTools, ToolOffers
from lightspeed.errors import Conflict, Forbidden, NotFound, Unprocessable
from lightspeed.retrieval.okp.request import PortalQuery
from lightspeed.retrieval.search import KnowledgeSearch
from lightspeed.stack.models import Model
from lightspeed.storage.identifiers import new_conversation_id
from lightspeed.storage.records import Conversation
from lightspeed.storage.records import Exchange as StoredExchange
from lightspeed.telemetry.turn_spans import TurnSpans
from lightspeed.tools.caller import Caller
from lightspeed.tools.tool import Tool, ToolListing, ToolSource, ToolTrouble

if TYPE_CHECKING:
    from lightspeed.storage.conversations import Conversations

_EXCHANGES = 200


class ModelList(Protocol):
    @property
    def providers(self) -> Collection[str]: ...
    async def models(self) -> Sequence[Model]: ...


class WaitingTurns(Protocol):
    """The Turns that wait for a person."""

    async def waiting_in(self, conversation_id: str) -> Sequence["WaitingTurn"]:
        """Those of a conversation. What nobody may go on with any more is ended and recorded before."""
        ...


@dataclass(frozen=True, slots=True)
class WaitingTurn:
    """A Turn that waits, with the ids of the approvals that it waits for."""

    request_id: str
    user_id: str
    approvals: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Plan:
    """`begins` says that the Turn is the first of its conversation; `truncated` that the model is not told all of it.

    `retrieval_seconds` is what the search before the question took. `tools` begin with the `knowledge_tool`;
    `skills` are those that the conversation has activated.
    """

    conversation_id: str
    begins: bool
    model: Model
    prompt: Prompt
    truncated: bool
    knowledge_tool: KnowledgeTool | None
    retrieval_seconds: float
    tools: Sequence[Tool] = ()
    troubles: Sequence[ToolTrouble] = ()
    listings: Sequence[ToolListing] = ()
    skills: tuple[str, ...] = ()

    @property
    def stores(self) -> tuple[str, ...]:
        """What the knowledge tool searches."""
        return tuple(self.knowledge_tool.stores) if self.knowledge_tool else ()


class Planner:
    """Finds the conversation, chooses the model, retrieves, asks for tools and composes."""

    def __init__(
        self,
        models: ModelList,
        knowledge: KnowledgeSearch,
        conversations: "Conversations",
        recorder: Recorder,
        settings: AssistantSettings,
        spans: TurnSpans,
        *,
        tool_sources: Sequence[ToolSource] = (),
        skills: SkillShelf | None = None,
        waiting: WaitingTurns | None = None,
    ) -> None:
        self._models = models
        self._knowledge = knowledge
        self._conversations = conversations
        self._recorder = recorder
        self._settings = settings
        self._spans = spans
        self._sources = tool_sources
        self._skills = skills
        self._waiting = waiting

    async def plan(self, request: TurnRequest) -> Plan:
        """Raises the RequestError that says why the question cannot be asked."""
        if request.system_prompt and not self._settings.request_may_set_system_prompt:
            raise Unprocessable(
                "This instance does not support customizing the system prompt (disable_query_system_prompt is set). "
                "Please remove the system_prompt field from your request.",
                response="System prompt customization is disabled",
            )
        conversation = await self._conversation(request)
        async with self._offers(request.user_id, request.caller, asks=not request.no_tools) as offers:
            return await self._with_tools(request, conversation, offers)

    async def tools(
        self, user_id: str, caller: Caller | None, knowledge_tool: KnowledgeTool | None, skills: Sequence[str]
    ) -> OfferedTools:
        """The tools of a Turn that goes on. Raises Unauthorized."""
        async with self._offers(user_id, caller) as offers:
            return await offers.all(self._own_tools(knowledge_tool, skills))

    def knowledge_tool(
        self, stores: Sequence[str], portal: PortalQuery, room: int | None
    ) -> KnowledgeTool | None:
        """The search of some stores as a tool, whose results may have so many tokens; None without stores."""
        return KnowledgeTool(self._knowledge, stores, portal, room) if stores else None

    async def context_window(self, identifier: str) -> int | None:
        """That of a model, in tokens, as far as it is known now."""
        if identifier in self._settings.context_windows:
            return self._settings.context_windows[identifier]
        found = [model for model in await self._models.models() if model.identifier == identifier]
        return self._context_window(found[0]) if found else None

    def _context_window(self, model: Model) -> int | None:
        return self._settings.context_windows.get(model.identifier, model.context_length)

    def _offers(self, user_id: str, caller: Caller | None, *, asks: bool = True) -> ToolOffers:
        return ToolOffers(self._sources if asks else (), caller or Caller(user_id))

    def _own_tools(self, knowledge_tool: KnowledgeTool | None, skills: Sequence[str]) -> list[Tool]:
        own: list[Tool] = [knowledge_tool] if knowledge_tool else []
        return own if self._skills is None else [*own, *self._skills.tools(skills)]

    async def _with_tools(
        self, request: TurnRequest, conversation: Conversation | None, offers: ToolOffers
    ) -> Plan:
        """Everything else is prepared while the sources are asked."""
        earlier = await self._earlier(conversation) if conversation else []
        model = choose_model(
            await self._models.models(),
            self._settings,
            (request.provider, request.model),
            (conversation.last_provider, conversation.last_model) if conversation else (None, None),
            self._models.providers,
        )
        stores = (
            []
            if request.no_tools
            else await self._knowledge.tool_stores(request.vector_store_ids, request.user_id)
        )
        system_prompt, skills = await self._system_prompt(request, conversation)
        context_window = self._context_window(model)
        room = passage_room(
            system_prompt=system_prompt,
            query=request.query,
            attachments=request.attachments,
            context_window=context_window,
            searchable=bool(stores),
        )
        clock = time.perf_counter()
        with self._spans.retrieval(request.query) as span:
            chunks = await self._knowledge.inline(
                request.query, request.vector_store_ids, request.portal, room=room.given
            )
            span.set({"lightspeed.retrieval.chunks": len(chunks)})
        retrieval_seconds = time.perf_counter() - clock
        knowledge_tool = self.knowledge_tool(stores, request.portal, None)
        own = [] if request.no_tools else self._own_tools(knowledge_tool, skills)
        offered = await offers.all(own)
        prompt = compose(
            system_prompt=system_prompt,
            history=[_exchange(item) for item in earlier if item.answer],
            chunks=chunks,
            query=request.query,
            attachments=request.attachments,
            context_window=context_window,
            kept_free=room.found,
            definitions=[tool.definition for tool in offered.tools],
        )
        if knowledge_tool is not None:
            knowledge_tool.room = prompt.room
        return Plan(
            conversation_id=conversation.id if conversation else new_conversation_id(),
            begins=conversation is None,
            model=model,
            prompt=prompt,
            truncated=prompt.truncated or bool(conversation and len(earlier) < conversation.message_count),
            knowledge_tool=knowledge_tool,
            retrieval_seconds=retrieval_seconds,
            tools=offered.tools,
            troubles=offered.troubles,
            listings=offered.listings,
            skills=skills,
        )

    async def _system_prompt(
        self, request: TurnRequest, conversation: Conversation | None
    ) -> tuple[str, tuple[str, ...]]:
        """Instructions, and the skills that the conversation has activated, which are part of them."""
        instructions = request.system_prompt or self._settings.system_prompt
        if self._skills is None or request.no_tools:
            return instructions, ()
        active: tuple[str, ...] = ()
        if conversation is not None and self._conversations.keeps_content:
            active = await active_skills(self._conversations, conversation.id)
        told = self._skills.prompt(active)
        return f"{instructions}\n\n{told}" if told else instructions, active

    async def _conversation(self, request: TurnRequest) -> Conversation | None:
        if request.conversation_id is None:
            return None
        waiting: Sequence[WaitingTurn] = ()
        # Where there are no tools of others nothing waits, and nothing is asked.
        if self._waiting is not None and self._sources:
            waiting = await self._waiting.waiting_in(request.conversation_id)
        conversation = await self._recorder.find(request.conversation_id)
        if conversation is None:
            # A conversation whose first Turn waits is known to nobody else.
            waiting = [turn for turn in waiting if turn.user_id == request.user_id]
            if not waiting:
                raise NotFound("Conversation", request.conversation_id)
        elif conversation.user_id != request.user_id and not request.may_continue_others:
            raise Forbidden(
                f"User {request.user_id} does not have permission to read conversation with ID {conversation.id}"
            )
        if waiting:
            raise _busy(request.conversation_id, waiting)
        return conversation

    async def _earlier(self, conversation: Conversation) -> list[StoredExchange]:
        if not self._conversations.keeps_content:
            return []
        return await self._conversations.exchanges(conversation.id, last=_EXCHANGES)


def _exchange(stored: StoredExchange) -> Exchange:
    attachments = tuple(
        Attachment(item["attachment_type"], item["content_type"], item["content"])
        for item in stored.attachments
    )
    return Exchange(stored.query, attachments, stored.answer)


def _busy(conversation_id: str, waiting: Sequence[WaitingTurn]) -> Conflict:
    approvals = ", ".join(approval for turn in waiting for approval in turn.approvals)
    turns = ", ".join(turn.request_id for turn in waiting)
    cause = (
        f"it waits for the approvals {approvals}."
        if approvals
        else f"resume the turn {turns} first, or wait for it."
    )
    return Conflict(
        f"A turn of the conversation {conversation_id} is not complete: {cause}",
        response="The conversation waits for an approval",
    )
