"""The one path of a question: retrieve, compose, generate, record."""

import asyncio
import logging
import time
from collections.abc import Collection
from contextlib import aclosing
from datetime import UTC, datetime
from functools import partial
from typing import TYPE_CHECKING, Literal, Protocol

from lightspeed.assistant.events import Completed, Ending, Failed, Interrupted, Started, Usage
from lightspeed.assistant.generation import Accepted, Generation
from lightspeed.assistant.model_round import ChatModel
from lightspeed.assistant.planning import ModelList, Plan, Planner
from lightspeed.assistant.record import turn_record
from lightspeed.assistant.recorder import Recorder
from lightspeed.assistant.request import TurnRequest
from lightspeed.assistant.settings import AssistantSettings
from lightspeed.assistant.topic_summary import TopicSummaries
from lightspeed.assistant.turn import Turn
from lightspeed.errors import InternalError, ProviderUnavailable, RequestError
from lightspeed.retrieval.references import referenced_documents
from lightspeed.retrieval.search import KnowledgeSearch
from lightspeed.storage.records import TurnRecord
from lightspeed.telemetry.metrics import Face, Metrics
from lightspeed.telemetry.tracing import NO_TRACES, Span, Tracing
from lightspeed.telemetry.turn_spans import TurnSpans

if TYPE_CHECKING:
    from lightspeed.storage.conversations import Conversations

logger = logging.getLogger(__name__)

_ENDING_TAKES_AT_MOST = 8.0  # seconds: the database has its time, and then the disk


class Models(ModelList, ChatModel, Protocol):
    """The models of the stack."""


class Assistant:
    """Runs Turns. Each runs in a task of its own to its end, whoever still listens."""

    def __init__(
        self,
        *,
        models: Models,
        knowledge: KnowledgeSearch,
        conversations: "Conversations",
        recorder: Recorder,
        metrics: Metrics,
        settings: AssistantSettings,
        tracing: Tracing = NO_TRACES,
    ) -> None:
        """`recorder` is started before the first question, and closed after the assistant."""
        self._models = models
        self._recorder = recorder
        self._metrics = metrics
        self._settings = settings
        self._keeps_content = conversations.keeps_content
        self._spans = TurnSpans(tracing)
        self._planner = Planner(models, knowledge, conversations, recorder, settings, self._spans)
        self._topics = TopicSummaries(models, conversations, metrics, settings.topic_summary_prompt)
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
        task.add_done_callback(partial(self._done, turn, request.face))
        self._metrics.turns.began(request.face)
        return turn

    @property
    def running_requests(self) -> Collection[str]:
        """The request ids of the Turns that run."""
        return self._turns.keys()

    def running(self, request_id: str) -> Turn | None:
        return self._turns.get(request_id)

    def interrupt_all(self) -> None:
        """Stop all running Turns; what they made is recorded."""
        for turn in list(self._turns.values()):
            turn.interrupt()

    async def close(self, grace: float = 30.0) -> None:
        """Let running Turns end; after `grace` seconds interrupt them. What they made is recorded."""
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=grace)
        self.interrupt_all()
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=_ENDING_TAKES_AT_MOST)
        await self._topics.close()

    def _done(self, turn: Turn, face: Face, task: asyncio.Task[None]) -> None:
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
        self._metrics.turns.ended(face, turn.outcome)

    async def _run(self, request: TurnRequest, turn: Turn) -> None:
        with self._spans.turn(request.request_id, request.face) as span:
            await self._take(request, turn, span)
            ending = await turn.ending()
            if isinstance(ending, Failed):
                self._spans.failed(span, ending.error)
            else:
                usage = ending.usage
                self._spans.ended(span, turn.outcome, usage.input_tokens, usage.output_tokens)

    async def _take(self, request: TurnRequest, turn: Turn, span: Span) -> None:
        try:
            async with asyncio.timeout(self._settings.turn_timeout):
                plan = await self._planner.plan(request)
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
            self._spans.planned(span, plan.model.provider_id, plan.model.name, plan.conversation_id)
            await self._answer(request, turn, plan)

    async def _answer(self, request: TurnRequest, turn: Turn, plan: Plan) -> None:
        started_at, clock = datetime.now(UTC), time.perf_counter()
        generation = Generation(
            self._models,
            plan.model.identifier,
            plan.prompt.messages,
            tools=[plan.knowledge_tool] if plan.knowledge_tool else [],
            stream=request.stream,
            max_rounds=self._settings.max_tool_rounds,
            spans=self._spans.rounds(plan.model.provider_id, plan.model.name, plan.conversation_id),
            tool_called=self._metrics.turns.tool_call,
        )
        started = Started(
            plan.conversation_id, request.request_id, plan.model.provider_id, plan.model.name, started_at
        )
        failure = await self._generate(turn, generation, started)
        turn.answered()
        seconds, completed_at = time.perf_counter() - clock, datetime.now(UTC)
        usage = await generation.usage()
        chunks = plan.prompt.chunks + tuple(plan.knowledge_tool.found if plan.knowledge_tool else ())
        documents = referenced_documents(chunks)
        ending: Ending
        if failure is None:
            ending = Completed(generation.text, usage, chunks, documents, plan.truncated, completed_at)
        elif failure == "interrupted":
            ending = Interrupted(request.request_id, generation.text, usage)
        else:
            ending = Failed(failure)
        record = turn_record(
            request,
            plan.conversation_id,
            plan.model,
            generation,
            chunks,
            documents,
            usage,
            ending,
            started_at,
            completed_at,
        )
        # What the provider has refused has been no turn.
        kept = turn.accepted or isinstance(ending, Interrupted)
        if kept:
            recording = time.perf_counter()
            with self._spans.record():
                await self._recorder.record(record, begins=plan.begins, truncated=plan.truncated)
            self._metrics.turns.phase(request.face, "record", time.perf_counter() - recording)
        turn.emit(ending)
        self._metrics.turns.phase(request.face, "retrieve", plan.retrieval_seconds)
        self._metrics.turns.phase(request.face, "generate", seconds)
        self._count(record, request, seconds)
        if request.stream and generation.first_text_at is not None:
            self._count_stream(turn, record, request.face, generation.first_text_at, clock + seconds)
        if kept and plan.begins and self._wants_a_name(request, record):
            self._topics.begin(record, plan.model.identifier, request.face)

    async def _generate(
        self, turn: Turn, generation: Generation, started: Started
    ) -> RequestError | Literal["interrupted"] | None:
        """Tell what the model says; returns why it has not come to its end."""
        try:
            async with (
                asyncio.timeout(self._settings.turn_timeout),
                aclosing(generation.events()) as events,
            ):
                async for event in events:
                    turn.emit(started if isinstance(event, Accepted) else event)
        except asyncio.CancelledError:
            _go_on_after_cancellation()
            return "interrupted"
        except TimeoutError:
            return _too_late(self._settings.turn_timeout)
        except RequestError as error:
            return error
        except Exception:
            logger.exception("A turn failed while the model answered")
            return InternalError()
        return None

    def _count(self, record: TurnRecord, request: TurnRequest, seconds: float) -> None:
        provider, model, face = record.provider, record.model, request.face
        result: Literal["success", "failure"] = "failure" if record.status == "failed" else "success"
        self._metrics.model_call(provider, model, face, duration=seconds, result=result)
        self._metrics.tokens(provider, model, face, sent=record.input_tokens, received=record.output_tokens)

    def _count_stream(
        self, turn: Turn, record: TurnRecord, face: Face, first_text_at: float, ended_at: float
    ) -> None:
        """How soon and how fast the reader of a streamed answer got its text."""
        provider, model, turns = record.provider, record.model, self._metrics.turns
        turns.first_token(provider, model, face, first_text_at - turn.began_at)
        # What tools take does not tell how fast the model speaks.
        if record.output_tokens > 1 and ended_at > first_text_at and not record.tool_calls:
            turns.token_rate(provider, model, face, (record.output_tokens - 1) / (ended_at - first_text_at))

    def _wants_a_name(self, request: TurnRequest, record: TurnRecord) -> bool:
        """A name tells what was said; and one that comes before its conversation is recorded has no place."""
        return (
            request.generate_topic_summary
            and self._keeps_content
            and record.status in ("completed", "interrupted")
            and not self._recorder.is_waiting(record.request_id)
        )


def _go_on_after_cancellation() -> None:
    """An interrupted Turn has still to be recorded in the task that was cancelled."""
    task = asyncio.current_task()
    while task is not None and task.cancelling():
        task.uncancel()


def _too_late(seconds: float) -> ProviderUnavailable:
    return ProviderUnavailable(
        f"The answer was not complete within {seconds:g} seconds.", response="The answer took too long"
    )
