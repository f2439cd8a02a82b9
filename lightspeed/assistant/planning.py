"""What is decided of a Turn before the model is asked."""

import time
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from lightspeed.assistant.knowledge_tool import KnowledgeTool
from lightspeed.assistant.model_choice import choose_model
from lightspeed.assistant.prompt import Exchange, Prompt, compose
from lightspeed.assistant.recorder import Recorder
from lightspeed.assistant.request import Attachment, TurnRequest
from lightspeed.assistant.settings import AssistantSettings
from lightspeed.errors import Forbidden, NotFound, Unprocessable
from lightspeed.retrieval.search import KnowledgeSearch
from lightspeed.stack.models import Model
from lightspeed.storage.identifiers import new_conversation_id
from lightspeed.storage.records import Conversation
from lightspeed.storage.records import Exchange as StoredExchange
from lightspeed.telemetry.turn_spans import TurnSpans

if TYPE_CHECKING:
    from lightspeed.storage.conversations import Conversations

_EXCHANGES = 200


class ModelList(Protocol):
    @property
    def providers(self) -> Collection[str]: ...
    async def models(self) -> Sequence[Model]: ...


@dataclass(frozen=True, slots=True)
class Plan:
    """`begins` says that the Turn is the first of its conversation; `truncated` that the model is not told all of it.

    `retrieval_seconds` is what the search before the question took.
    """

    conversation_id: str
    begins: bool
    model: Model
    prompt: Prompt
    truncated: bool
    knowledge_tool: KnowledgeTool | None
    retrieval_seconds: float


class Planner:
    """Finds the conversation, chooses the model, retrieves and composes."""

    def __init__(
        self,
        models: ModelList,
        knowledge: KnowledgeSearch,
        conversations: "Conversations",
        recorder: Recorder,
        settings: AssistantSettings,
        spans: TurnSpans,
    ) -> None:
        self._models = models
        self._knowledge = knowledge
        self._conversations = conversations
        self._recorder = recorder
        self._settings = settings
        self._spans = spans

    async def plan(self, request: TurnRequest) -> Plan:
        """Raises the RequestError that says why the question cannot be asked."""
        if request.system_prompt and not self._settings.request_may_set_system_prompt:
            raise Unprocessable(
                "This instance does not support customizing the system prompt (disable_query_system_prompt is set). "
                "Please remove the system_prompt field from your request.",
                response="System prompt customization is disabled",
            )
        conversation = await self._conversation(request)
        earlier = await self._earlier(conversation) if conversation else []
        model = choose_model(
            await self._models.models(),
            self._settings,
            (request.provider, request.model),
            (conversation.last_provider, conversation.last_model) if conversation else (None, None),
            self._models.providers,
        )
        clock = time.perf_counter()
        with self._spans.retrieval(request.query) as span:
            chunks = await self._knowledge.inline(request.query, request.vector_store_ids, request.portal)
            span.set({"lightspeed.retrieval.chunks": len(chunks)})
        retrieval_seconds = time.perf_counter() - clock
        prompt = compose(
            system_prompt=request.system_prompt or self._settings.system_prompt,
            history=[_exchange(item) for item in earlier if item.answer],
            chunks=chunks,
            query=request.query,
            attachments=request.attachments,
            context_window=self._settings.context_windows.get(model.identifier, model.context_length),
        )
        stores = (
            []
            if request.no_tools
            else await self._knowledge.tool_stores(request.vector_store_ids, request.user_id)
        )
        return Plan(
            conversation_id=conversation.id if conversation else new_conversation_id(),
            begins=conversation is None,
            model=model,
            prompt=prompt,
            truncated=prompt.truncated or bool(conversation and len(earlier) < conversation.message_count),
            knowledge_tool=KnowledgeTool(self._knowledge, stores, request.portal) if stores else None,
            retrieval_seconds=retrieval_seconds,
        )

    async def _conversation(self, request: TurnRequest) -> Conversation | None:
        if request.conversation_id is None:
            return None
        conversation = await self._recorder.find(request.conversation_id)
        if conversation is None:
            raise NotFound("Conversation", request.conversation_id)
        if conversation.user_id != request.user_id and not request.may_continue_others:
            raise Forbidden(
                f"User {request.user_id} does not have permission to read conversation with ID {conversation.id}"
            )
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
