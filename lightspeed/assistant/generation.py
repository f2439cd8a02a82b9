"""The generation loop: the model speaks, calls tools, reads their results, and speaks again."""

import json
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping, Sequence
from contextlib import aclosing, suppress
from dataclasses import dataclass
from typing import Any

from lightspeed.assistant.events import Token, ToolCall, ToolResult, Usage
from lightspeed.assistant.model_round import ChatModel, ModelRound
from lightspeed.assistant.tool_calls import (
    APPROVAL_REQUEST,
    APPROVAL_RESPONSE,
    RoundCall,
    Toolbox,
    denial,
    failure,
    of_unknown_outcome,
)
from lightspeed.errors import ModelRefused, StorageError
from lightspeed.stack.chat import ChatRequest
from lightspeed.telemetry.round_spans import RoundSpans
from lightspeed.telemetry.tracing import NO_TRACES
from lightspeed.tools.arguments import parse_arguments
from lightspeed.tools.tool import Tool, ToolListing

LISTING = "mcp_list_tools"


class Accepted:
    """The model has accepted the question; comes before anything else."""


@dataclass(frozen=True, slots=True)
class Earlier:
    """What a generation had made when it paused. Those of `calls` that waited have been decided meanwhile."""

    text: str
    tool_calls: tuple[ToolCall, ...]
    tool_results: tuple[ToolResult, ...]
    round: int
    calls: tuple[RoundCall, ...]


class Generation:
    """One answer, made in one or more rounds. What it has made so far can be read at any time."""

    def __init__(
        self,
        model: ChatModel,
        model_name: str,
        messages: Sequence[Mapping[str, Any]],
        *,
        tools: Sequence[Tool] = (),
        listings: Sequence[ToolListing] = (),
        stream: bool = True,
        max_rounds: int = 10,
        tool_called: Callable[[str, str, float], None] = lambda *_: None,
        spans: RoundSpans | None = None,
        may_pause: bool = False,
        earlier: Earlier | None = None,
        keep: Callable[["Generation"], Awaitable[None]] | None = None,
    ) -> None:
        """`tool_called` hears of each call: type, status, and how many seconds it took.

        `listings` are told before the first round. Without `may_pause` a call that somebody must allow fails.
        `earlier` goes on with a generation that had paused; `keep` is then awaited before allowed calls, and after
        each of them.
        """
        self._model = model
        self._model_name = model_name
        self.messages: list[Mapping[str, Any]] = list(messages)
        self._listings = listings
        self._stream = stream
        self._max_rounds = max_rounds
        self._spans = spans or RoundSpans(NO_TRACES, "", model_name, "")
        self._tools = Toolbox(tools, self._spans, tool_called)
        self._may_pause = may_pause
        self._earlier = earlier
        self._keep = keep
        self._rounds: list[ModelRound] = []
        self.first_text_at: float | None = None  # by time.perf_counter()
        self.tool_calls: list[ToolCall] = list(earlier.tool_calls) if earlier else []
        self.tool_results: list[ToolResult] = list(earlier.tool_results) if earlier else []
        self.round = earlier.round if earlier else 1
        self.calls: list[RoundCall] = list(earlier.calls) if earlier else []
        self.touched = False

    @property
    def text(self) -> str:
        said = "".join(text for taken in self._rounds for text in taken.text)
        return self._earlier.text + said if self._earlier else said

    @property
    def waiting(self) -> list[RoundCall]:
        """The calls for which a person is asked, once the generation has paused."""
        return [call for call in self.calls if call.approval_id and call.approved is None]

    def shown_arguments(self, call: RoundCall) -> dict[str, Any]:
        """The arguments of a call as clients see them."""
        return self._tools.shown_arguments(call)

    async def usage(self) -> Usage:
        """Tokens of all rounds, also of one that was broken off; what the provider has not told is estimated.

        Those of before a pause do not count.
        """
        return sum([await taken.usage() for taken in self._rounds], Usage())

    async def events(self) -> AsyncGenerator[Accepted | Token | ToolCall | ToolResult]:
        """Raises the RequestError of a failed call. Closing this iterator stops model and tools.

        It ends with the answer, or with calls that are `waiting`.
        """
        first = 1
        if self._earlier is not None:
            yield Accepted()
            async with aclosing(self._go_on()) as events:
                async for event in events:
                    yield event
            first = self.round + 1
        for number in range(first, self._max_rounds + 2):
            request = self._request(number)
            current = ModelRound(request)
            self._rounds.append(current)
            span = self._spans.chat(request.messages, request.tools, stream=request.stream)
            with current.traced(span):
                pieces = await current.ask(self._model)
                if number == 1:
                    yield Accepted()
                    for listed in self._listed():
                        yield listed
                async with aclosing(pieces):
                    async for piece in pieces:
                        if piece.text:
                            if self.first_text_at is None:
                                self.first_text_at = time.perf_counter()
                            if not current.text:
                                span.first_chunk()
                            current.text.append(piece.text)
                            yield Token(piece.text)
                        if piece.tool_calls or piece.input_tokens is not None or piece.finish_reason:
                            current.take(piece)
            if not current.calls:
                return
            if number > self._max_rounds:
                if not self.text:
                    raise ModelRefused(
                        f"The model called tools for {self._max_rounds} rounds and gave no answer."
                    )
                return
            self.round = number
            async with aclosing(self._call_tools(current)) as events:
                async for event in events:
                    yield event
            if self.waiting:
                return

    def _request(self, round_number: int) -> ChatRequest:
        offered = self._tools.definitions if round_number <= self._max_rounds else []
        return ChatRequest(self._model_name, tuple(self.messages), stream=self._stream, tools=offered)

    def _listed(self) -> list[ToolCall | ToolResult]:
        """The tools of each server, told once."""
        told: list[ToolCall | ToolResult] = []
        for number, listing in enumerate(self._listings, 1):
            call = ToolCall(f"list_{number}", LISTING, {"server_label": listing.server_label}, LISTING)
            told += [
                self._announced(call),
                self._answered(ToolResult(call.id, "success", listing.content, LISTING, 1)),
            ]
        return told

    async def _call_tools(self, current: ModelRound) -> AsyncGenerator[ToolCall | ToolResult]:
        """Results are told as they come, and read by the model in order. Calls that a person must allow wait."""
        ordered = [current.calls[index] for index in sorted(current.calls)]
        ids = {call.id for call in self.tool_calls}
        self.calls = [
            RoundCall(_new_id(parts.id, f"{self.round}_{number}", ids), parts.name, "".join(parts.arguments))
            for number, parts in enumerate(ordered)
        ]
        self.messages.append(_assistant_message("".join(current.text), self.calls))
        asked = [call for call in self.calls if self._tools.ask_for(call)]
        if asked and not self._may_pause:
            for call in asked:
                call.approval_id, call.outcome = "", failure(_NOBODY_TO_ASK)
            asked = []
        free = [call for call in self.calls if not call.approval_id]
        for call in free:
            yield self._announced(self._tools.told(call))
        for call in free:
            if call.outcome is not None:
                yield self._answered(self._tools.result(call, call.outcome, self.round))
        async with aclosing(self._tools.run([call for call in free if call.outcome is None])) as outcomes:
            async for call, outcome in outcomes:
                yield self._answered(self._tools.result(call, outcome, self.round))
        for call in asked:
            arguments = self._tools.shown_arguments(call)
            yield self._announced(ToolCall(call.approval_id, call.tool_name, arguments, APPROVAL_REQUEST))
        if not asked:
            self._read_results()

    async def _go_on(self) -> AsyncGenerator[ToolCall | ToolResult]:
        """The calls that have been decided, as far as they have not been made before."""
        told, answered = {call.id for call in self.tool_calls}, {result.id for result in self.tool_results}
        decided = [call for call in self.calls if call.approval_id]
        for call in decided:
            if call.approval_id not in answered:
                yield self._answered(_response(call, self.round))
        allowed = [call for call in decided if call.approved]
        for call in allowed:
            if call.id not in told:
                yield self._announced(self._tools.told(call))
        for call in decided:
            if not call.approved:
                call.outcome = denial(call)
            elif call.begun and call.outcome is None:
                call.outcome = of_unknown_outcome(call)
            if call.approved and call.outcome is not None and call.id not in answered:
                yield self._answered(self._tools.result(call, call.outcome, self.round))
        runs = [call for call in allowed if call.outcome is None]
        for call in runs:
            call.begun = True
        if self._keep is not None:
            await self._keep(self)
        self.touched = True
        async with aclosing(self._tools.run(runs)) as outcomes:
            async for call, outcome in outcomes:
                result = self._answered(self._tools.result(call, outcome, self.round))
                if self._keep is not None:
                    # Whoever goes on after our death would know less of it, but the answer need not fail.
                    with suppress(StorageError):
                        await self._keep(self)
                yield result
        self._read_results()

    def _read_results(self) -> None:
        for call in self.calls:
            content = call.outcome.for_model if call.outcome else ""
            self.messages.append({"role": "tool", "tool_call_id": call.id, "content": content})
        self.calls = []

    def _announced(self, call: ToolCall) -> ToolCall:
        self.tool_calls.append(call)
        return call

    def _answered(self, result: ToolResult) -> ToolResult:
        self.tool_results.append(result)
        return result


def _new_id(given: str, place: str, known: set[str]) -> str:
    """The model's own id; some models begin to count anew in each round."""
    found = given or f"call_{place}"
    if found in known:
        found = f"{found}_{place}"
    known.add(found)
    return found


_NOBODY_TO_ASK = "A person must allow this call, and nobody can be asked here."


def _response(call: RoundCall, round_number: int) -> ToolResult:
    """What somebody has decided, as clients see it."""
    content = json.dumps({"reason": call.reason}) if call.reason else "{}"
    status = "success" if call.approved else "denied"
    return ToolResult(call.approval_id, status, content, APPROVAL_RESPONSE, round_number)


def _assistant_message(spoken: str, calls: Sequence[RoundCall]) -> dict[str, Any]:
    return {
        "role": "assistant",
        "content": spoken or None,
        "tool_calls": [
            {
                "id": call.id,
                "type": "function",
                "function": {"name": call.name, "arguments": json.dumps(parse_arguments(call.arguments))},
            }
            for call in calls
        ],
    }
