"""The one path of a question: retrieve, compose, generate, record."""

import asyncio
import logging
import time
from collections.abc import AsyncGenerator, Awaitable, Collection, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from typing import Literal, Protocol

from lightspeed.assistant.events import Completed, Ending, Failed, Interrupted, Started, Usage
from lightspeed.assistant.generation import Accepted, Generation
from lightspeed.assistant.knowledge_tool import KnowledgeTool
from lightspeed.assistant.model_choice import choose_model
from lightspeed.assistant.prompt import Exchange, Prompt, compose
from lightspeed.assistant.record import turn_record
from lightspeed.assistant.request import Attachment, TurnRequest
from lightspeed.assistant.settings import AssistantSettings
from lightspeed.assistant.turn import Turn
from lightspeed.errors import (
    Forbidden,
    InternalError,
    NotFound,
    ProviderUnavailable,
    RequestError,
    Unprocessable,
)
from lightspeed.retrieval.references import referenced_documents
from lightspeed.retrieval.search import KnowledgeSearch
from lightspeed.stack.chat import ChatPiece, ChatRequest
from lightspeed.stack.models import Model
from lightspeed.storage.identifiers import new_conversation_id
from lightspeed.storage.records import Conversation, StoredTurn, TurnRecord
from lightspeed.telemetry.metrics import Metrics

logger = logging.getLogger(__name__)

_RECORDING_TAKES_AT_MOST = 5.0  # seconds


class Models(Protocol):
    """The models of the stack."""

    @property
    def providers(self) -> Collection[str]: ...
    async def models(self) -> Sequence[Model]: ...
    async def chat(self, request: ChatRequest) -> AsyncGenerator[ChatPiece]: ...


class ConversationStore(Protocol):
    async def get(self, conversation_id: str) -> Conversation | None: ...
    async def turns(self, conversation_id: str, last: int | None = None) -> list[StoredTurn]: ...
    async def record(self, turn: TurnRecord) -> StoredTurn: ...


class TranscriptStore(Protocol):
    async def store(self, turn: TurnRecord, *, truncated: bool = False) -> None: ...


@dataclass(frozen=True, slots=True)
class _Plan:
    """All that is decided before the model is asked."""

    conversation_id: str
    model: Model
    prompt: Prompt
    knowledge_tool: KnowledgeTool | None


class Assistant:
    """Runs Turns. Each runs in a task of its own to its end, whoever still listens."""

    def __init__(
        self,
        *,
        models: Models,
        knowledge: KnowledgeSearch,
        conversations: ConversationStore,
        transcripts: TranscriptStore | None,
        metrics: Metrics,
        settings: AssistantSettings,
    ) -> None:
        self._models = models
        self._knowledge = knowledge
        self._conversations = conversations
        self._transcripts = transcripts
        self._metrics = metrics
        self._settings = settings
        self._turns: dict[str, Turn] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    def start(self, request: TurnRequest) -> Turn:
        """Begin a Turn; read it through the result."""
        turn = Turn(request.request_id, request.user_id)
        task = asyncio.get_running_loop().create_task(
            self._run(request, turn), name=f"turn {request.request_id}"
        )
        turn.run_in(task)
        self._turns[request.request_id] = turn
        self._tasks.add(task)
        task.add_done_callback(partial(self._done, turn))
        return turn

    def _done(self, turn: Turn, task: asyncio.Task[None]) -> None:
        """Whatever became of the task, those who read the Turn learn that it has ended."""
        self._tasks.discard(task)
        self._turns.pop(turn.request_id, None)
        error = None if task.cancelled() else task.exception()
        if error is not None:
            logger.error("A turn failed", exc_info=error)
        if not turn.ended:
            turn.emit(
                Interrupted(turn.request_id, "", Usage()) if task.cancelled() else Failed(InternalError())
            )

    def running(self, request_id: str) -> Turn | None:
        return self._turns.get(request_id)

    async def close(self, grace: float = 30.0) -> None:
        """Let running Turns end; after `grace` seconds interrupt them. What they made is recorded."""
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=grace)
        for turn in list(self._turns.values()):
            turn.interrupt()
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=_RECORDING_TAKES_AT_MOST)

    async def _run(self, request: TurnRequest, turn: Turn) -> None:
        try:
            async with asyncio.timeout(self._settings.turn_timeout):
                plan = await self._plan(request)
        except TimeoutError:
            turn.emit(Failed(_too_late(self._settings.turn_timeout)))
        except RequestError as error:
            turn.emit(Failed(error))
        except asyncio.CancelledError:
            turn.emit(Interrupted(request.request_id, "", Usage()))
        except Exception:
            logger.exception("A turn failed before the model was asked")
            turn.emit(Failed(InternalError()))
        else:
            await self._answer(request, turn, plan)

    async def _plan(self, request: TurnRequest) -> _Plan:
        if request.system_prompt and not self._settings.request_may_set_system_prompt:
            raise Unprocessable(
                "This instance does not support customizing the system prompt (disable_query_system_prompt is set). "
                "Please remove the system_prompt field from your request.",
                response="System prompt customization is disabled",
            )
        conversation, earlier = await self._conversation(request)
        model = choose_model(
            await self._models.models(),
            self._settings,
            (request.provider, request.model),
            (conversation.last_provider, conversation.last_model) if conversation else (None, None),
            self._models.providers,
        )
        chunks = await self._knowledge.inline(request.query, request.vector_store_ids)
        prompt = compose(
            system_prompt=request.system_prompt or self._settings.system_prompt,
            history=earlier,
            chunks=chunks,
            query=request.query,
            attachments=request.attachments,
            context_window=self._settings.context_windows.get(model.identifier, model.context_length),
        )
        stores = [] if request.no_tools else await self._knowledge.tool_stores(request.vector_store_ids)
        return _Plan(
            conversation.id if conversation else new_conversation_id(),
            model,
            prompt,
            KnowledgeTool(self._knowledge, stores) if stores else None,
        )

    async def _conversation(self, request: TurnRequest) -> tuple[Conversation | None, list[Exchange]]:
        if request.conversation_id is None:
            return None, []
        conversation = await self._conversations.get(request.conversation_id)
        if conversation is None:
            raise NotFound("Conversation", request.conversation_id)
        if conversation.user_id != request.user_id:
            raise Forbidden(
                f"User {request.user_id} does not have permission to read conversation with ID {conversation.id}"
            )
        turns = await self._conversations.turns(conversation.id)
        return conversation, [_exchange(turn) for turn in turns if turn.answer]

    async def _answer(self, request: TurnRequest, turn: Turn, plan: _Plan) -> None:
        started_at, clock = datetime.now(UTC), time.perf_counter()
        tools = [plan.knowledge_tool] if plan.knowledge_tool else []
        generation = Generation(
            self._models,
            plan.model.identifier,
            plan.prompt.messages,
            tools=tools,
            stream=request.stream,
            max_rounds=self._settings.max_tool_rounds,
        )
        started = Started(
            plan.conversation_id, request.request_id, plan.model.provider_id, plan.model.name, started_at
        )
        failure: Failed | Interrupted | None = None
        accepted = False
        try:
            async with (
                asyncio.timeout(self._settings.turn_timeout),
                aclosing(generation.events()) as events,
            ):
                async for event in events:
                    if isinstance(event, Accepted):
                        accepted = True
                        turn.emit(started)
                    else:
                        turn.emit(event)
        except asyncio.CancelledError:
            _go_on_after_cancellation()
            failure = Interrupted(request.request_id, generation.text, generation.usage)
        except TimeoutError:
            failure = Failed(_too_late(self._settings.turn_timeout))
        except RequestError as error:
            failure = Failed(error)
        except Exception:
            logger.exception("A turn failed while the model answered")
            failure = Failed(InternalError())
        turn.answered()
        chunks = plan.prompt.chunks + tuple(plan.knowledge_tool.found if plan.knowledge_tool else ())
        documents = referenced_documents(chunks)
        completed_at = datetime.now(UTC)
        ending: Ending = failure or Completed(
            generation.text, generation.usage, chunks, documents, plan.prompt.truncated, completed_at
        )
        record = turn_record(
            request,
            plan.conversation_id,
            plan.model,
            generation,
            chunks,
            documents,
            ending,
            started_at,
            completed_at,
        )
        self._count(record, request, time.perf_counter() - clock)
        if not accepted and not isinstance(failure, Interrupted):
            turn.emit(ending)
            return
        transcript = asyncio.ensure_future(self._store_transcript(record, truncated=plan.prompt.truncated))
        await self._kept("conversation", self._conversations.record(record))
        turn.emit(ending)
        await transcript

    def _count(self, record: TurnRecord, request: TurnRequest, seconds: float) -> None:
        provider, model, face = record.provider, record.model, request.face
        result: Literal["success", "failure"] = "failure" if record.status == "failed" else "success"
        self._metrics.model_call(provider, model, face, duration=seconds, result=result)
        self._metrics.tokens(provider, model, face, sent=record.input_tokens, received=record.output_tokens)

    async def _store_transcript(self, record: TurnRecord, *, truncated: bool) -> None:
        if self._transcripts is not None:
            await self._kept("transcript", self._transcripts.store(record, truncated=truncated))

    async def _kept(self, store: str, job: Awaitable[object]) -> None:
        """The answer has been made and must not be lost to its client when it cannot be kept."""
        try:
            await job
        except Exception as error:
            logger.error("The %s of a turn could not be kept: %s", store, error)
            logger.debug("The cause", exc_info=True)
            self._metrics.storage_failure(store)


def _exchange(turn: StoredTurn) -> Exchange:
    attachments = tuple(
        Attachment(item["attachment_type"], item["content_type"], item["content"])
        for item in turn.attachments
    )
    return Exchange(turn.query, attachments, turn.answer)


def _go_on_after_cancellation() -> None:
    """An interrupted Turn has still to be recorded in the task that was cancelled."""
    task = asyncio.current_task()
    while task is not None and task.cancelling():
        task.uncancel()


def _too_late(seconds: float) -> ProviderUnavailable:
    return ProviderUnavailable(
        f"The answer was not complete within {seconds:g} seconds.", response="The answer took too long"
    )
