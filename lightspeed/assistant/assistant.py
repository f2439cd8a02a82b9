"""The one path of a question: retrieve, compose, generate, record."""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from contextlib import aclosing
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial
from typing import TYPE_CHECKING, Literal, Protocol

from lightspeed.assistant.events import (
    ApprovalRequired,
    Completed,
    Ending,
    Failed,
    Interrupted,
    Started,
    ToolsMissing,
    Usage,
)
from lightspeed.assistant.generation import LISTING, Accepted, Generation
from lightspeed.assistant.leg import Leg
from lightspeed.assistant.metering import UNMETERED, Account, Metering
from lightspeed.assistant.model_round import ChatModel
from lightspeed.assistant.paused_state import PausedState
from lightspeed.assistant.pauses import Pauses
from lightspeed.assistant.planning import ModelList, Planner
from lightspeed.assistant.record import turn_record
from lightspeed.assistant.recorder import Recorder
from lightspeed.assistant.request import ResumeRequest, TurnRequest
from lightspeed.assistant.resuming import Resuming
from lightspeed.assistant.settings import AssistantSettings
from lightspeed.assistant.skill_shelf import SkillShelf
from lightspeed.assistant.topic_summary import TopicSummaries
from lightspeed.assistant.turn import Turn
from lightspeed.errors import InternalError, ProviderUnavailable, RequestError, StorageError, TooManyRequests
from lightspeed.identity.quota import Payer
from lightspeed.retrieval.references import referenced_documents
from lightspeed.retrieval.search import KnowledgeSearch
from lightspeed.storage.records import TurnRecord
from lightspeed.telemetry.metrics import Face, Metrics
from lightspeed.telemetry.tracing import NO_TRACES, Span, Tracing
from lightspeed.telemetry.turn_spans import TurnSpans
from lightspeed.tools.tool import ToolSource, ToolTrouble

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
        tool_sources: Sequence[ToolSource] = (),
        skills: SkillShelf | None = None,
        pauses: Pauses | None = None,
        metering: Metering = UNMETERED,
    ) -> None:
        """`recorder` is started before the first question, and closed after the assistant.

        Without `pauses` nobody can be asked, and calls that need an approval fail.
        """
        self._models = models
        self._recorder = recorder
        self._metrics = metrics
        self._settings = settings
        self._keeps_content = conversations.keeps_content
        self._spans = TurnSpans(tracing)
        self._planner = Planner(
            models,
            knowledge,
            conversations,
            recorder,
            settings,
            self._spans,
            tool_sources=tool_sources,
            skills=skills,
            waiting=pauses,
        )
        self.pauses = pauses
        self._metering = metering
        self.uses_tools = bool(tool_sources)  # of others, which want to know for whom
        self._resuming = Resuming(self._planner, pauses)
        self._topics = TopicSummaries(conversations, metrics, settings.topic_summary_prompt)
        self._turns: dict[str, list[Turn]] = {}  # by request; several where more than one tries to go on
        self._tasks: set[asyncio.Task[None]] = set()

    def start(self, request: TurnRequest) -> Turn:
        """Begin a Turn; read it through the result. Raises TooManyRequests if too many are running."""
        return self._begin(request, lambda: self._fresh(request))

    def resume(self, request: ResumeRequest) -> Turn:
        """Go on with a Turn that has waited for a person; read it through the result, as if it had just begun.

        Its first event is Failed, with NotFound, Conflict, Gone or Unauthorized, if it cannot go on. Raises
        TooManyRequests if too many are running.
        """
        return self._begin(request, lambda: self._resuming.leg(request))

    def _begin(self, request: TurnRequest | ResumeRequest, prepare: Callable[[], Awaitable[Leg]]) -> Turn:
        self._check_capacity(request.user_id)
        turn = Turn(request.request_id, request.user_id)
        account = self._metering.account(Payer(request.user_id, request.user_id))
        task = asyncio.get_running_loop().create_task(
            self._run(request.face, turn, prepare, account), name=f"turn {request.request_id}"
        )
        turn.run_in(task)
        self._turns.setdefault(request.request_id, []).append(turn)
        self._tasks.add(task)
        task.add_done_callback(partial(self._done, turn, request.face))
        self._metrics.turns.began(request.face)
        return turn

    @property
    def running_requests(self) -> Collection[str]:
        """The request ids of the Turns that run."""
        return self._turns.keys()

    def running(self, request_id: str) -> Turn | None:
        """The one that began first: a second attempt to go on with a Turn that already does hides nothing."""
        return next(iter(self._turns.get(request_id, ())), None)

    def interrupt_all(self) -> None:
        """Stop all running Turns; what they made is recorded."""
        for turn in self._all_running():
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
        same = self._turns[turn.request_id]
        same.remove(turn)
        if not same:
            del self._turns[turn.request_id]
        error = None if task.cancelled() else task.exception()
        if error is not None:
            logger.error("A turn failed", exc_info=error)
        if not turn.ended:
            turn.emit(
                Interrupted(turn.request_id, "", Usage()) if task.cancelled() else Failed(InternalError())
            )
        self._metrics.turns.ended(face, turn.outcome)

    async def _fresh(self, request: TurnRequest) -> Leg:
        return Leg(request, await self._planner.plan(request))

    def _all_running(self) -> list[Turn]:
        return [turn for turns in self._turns.values() for turn in turns]

    def _check_capacity(self, user_id: str) -> None:
        """Whoever comes when the service is full hears so at once, instead of waiting for long."""
        most, most_of_user = self._settings.max_turns, self._settings.max_turns_per_user
        if most and len(self._tasks) >= most:
            raise _too_many(f"The service answers {most} questions at once.")
        if most_of_user:
            running = sum(turn.user_id == user_id for turn in self._all_running())
            if running >= most_of_user:
                raise _too_many(f"User {user_id} may have {most_of_user} questions answered at once.")

    async def _run(
        self, face: Face, turn: Turn, prepare: Callable[[], Awaitable[Leg]], account: Account
    ) -> None:
        with self._spans.turn(turn.request_id, face) as span:
            await self._take(turn, prepare, account, span)
            ending = await turn.ending()
            if isinstance(ending, Failed):
                self._spans.failed(span, ending.error)
            else:
                usage = ending.usage
                self._spans.ended(span, turn.outcome, usage.input_tokens, usage.output_tokens)

    async def _take(
        self, turn: Turn, prepare: Callable[[], Awaitable[Leg]], account: Account, span: Span
    ) -> None:
        try:
            async with asyncio.timeout(self._settings.turn_timeout):
                await account.admit()
                leg = await prepare()
        except TimeoutError:
            turn.emit(Failed(_too_late(self._settings.turn_timeout)))
        except RequestError as error:
            turn.emit(Failed(error))
        except asyncio.CancelledError:
            turn.emit(Interrupted(turn.request_id, "", Usage()))
        except Exception:
            logger.exception("A turn failed before the model was asked")
            turn.emit(Failed(InternalError()))
        else:
            plan = leg.plan
            self._spans.planned(span, plan.model.provider_id, plan.model.name, plan.conversation_id)
            if leg.held is None:
                await self._answer(leg, turn, account)
            else:
                async with leg.held:
                    await self._answer(leg, turn, account)

    async def _answer(self, leg: Leg, turn: Turn, account: Account) -> None:
        request, plan = leg.request, leg.plan
        started_at, clock = leg.started_at or datetime.now(UTC), time.perf_counter()
        generation = Generation(
            account.metered(self._models),
            plan.model.identifier,
            plan.prompt.messages,
            tools=plan.tools,
            listings=plan.listings,
            stream=request.stream,
            max_rounds=self._settings.max_tool_rounds,
            spans=self._spans.rounds(plan.model.provider_id, plan.model.name, plan.conversation_id),
            tool_called=self._metrics.turns.tool_call,
            may_pause=self.pauses is not None,
            earlier=leg.earlier,
            keep=leg.keep,
        )
        failure = await self._generate(turn, generation, leg.started(started_at), plan.troubles)
        turn.answered()
        seconds, completed_at = time.perf_counter() - clock, datetime.now(UTC)
        spent = await generation.usage()
        usage = leg.spent + spent
        chunks = leg.chunks
        documents = referenced_documents(chunks)
        ending: Ending
        if failure is None and generation.waiting:
            ending = await self._pause(leg, generation, usage, started_at)
        elif failure is None:
            ending = Completed(
                generation.text, usage, chunks, documents, plan.truncated, completed_at, await _left(account)
            )
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
        if isinstance(ending, ApprovalRequired) or not await leg.may_be_recorded(generation):
            kept = False
        if kept:
            recording = time.perf_counter()
            with self._spans.record():
                await self._recorder.record(record, begins=plan.begins, truncated=plan.truncated)
            self._metrics.turns.phase(request.face, "record", time.perf_counter() - recording)
            if leg.held is not None:
                await leg.held.end()
        turn.emit(ending)
        self._metrics.turns.phase(request.face, "retrieve", plan.retrieval_seconds)
        self._metrics.turns.phase(request.face, "generate", seconds)
        counted = record
        if leg.held is not None:
            # What was before the pause has been counted then.
            counted = replace(record, input_tokens=spent.input_tokens, output_tokens=spent.output_tokens)
        self._count(counted, request, seconds)
        if request.stream and generation.first_text_at is not None:
            self._count_stream(turn, counted, request.face, generation.first_text_at, clock + seconds)
        if kept and plan.begins and self._wants_a_name(request, record):
            self._topics.begin(record, plan.model.identifier, request.face, account.metered(self._models))

    async def _pause(
        self, leg: Leg, generation: Generation, usage: Usage, started_at: datetime
    ) -> ApprovalRequired | Failed:
        """Keep the Turn until somebody has decided; where that fails, it fails."""
        request = leg.request
        if self.pauses is None:
            raise RuntimeError("A generation that may not pause has paused")
        state = PausedState.of(request, leg.plan, generation, leg.chunks, usage, started_at)
        try:
            approvals = await self.pauses.pause(request.request_id, request.user_id, state, generation)
        except RequestError as error:
            return Failed(error)
        return ApprovalRequired(request.request_id, approvals, usage)

    async def _generate(
        self, turn: Turn, generation: Generation, started: Started, troubles: Sequence[ToolTrouble]
    ) -> RequestError | Literal["interrupted"] | None:
        """Tell what the model says; returns why it has not come to its end."""
        try:
            async with (
                asyncio.timeout(self._settings.turn_timeout),
                aclosing(generation.events()) as events,
            ):
                async for event in events:
                    if not isinstance(event, Accepted):
                        turn.emit(event)
                        continue
                    turn.emit(started)
                    for trouble in troubles:
                        turn.emit(ToolsMissing(trouble.server_label, trouble.kind, trouble.message))
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
        called = any(call["type"] != LISTING for call in record.tool_calls)
        if record.output_tokens > 1 and ended_at > first_text_at and not called:
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


async def _left(account: Account) -> Mapping[str, int]:
    """What the user may still spend; the answer is there, and paid, also if this cannot be told."""
    try:
        return await account.available()
    except StorageError:
        return {}


def _too_many(cause: str) -> TooManyRequests:
    return TooManyRequests(cause, response="Too many questions at once", headers={"Retry-After": "1"})


def _too_late(seconds: float) -> ProviderUnavailable:
    return ProviderUnavailable(
        f"The answer was not complete within {seconds:g} seconds.", response="The answer took too long"
    )
