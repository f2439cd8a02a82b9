"""The generation loop: the model speaks, calls tools, reads their results, and speaks again."""

import asyncio
import json
import logging
import time
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from contextlib import aclosing
from typing import Any

from lightspeed.assistant.events import Token, ToolCall, ToolResult, Usage
from lightspeed.assistant.model_round import CallParts, ChatModel, ModelRound
from lightspeed.errors import LightspeedError, ModelRefused
from lightspeed.stack.chat import ChatRequest
from lightspeed.telemetry.round_spans import RoundSpans
from lightspeed.telemetry.tracing import NO_TRACES
from lightspeed.tools.arguments import parse_arguments
from lightspeed.tools.tool import Tool, ToolOutcome

logger = logging.getLogger(__name__)


class Accepted:
    """The model has accepted the question; comes before anything else."""


class Generation:
    """One answer, made in one or more rounds. What it has made so far can be read at any time."""

    def __init__(
        self,
        model: ChatModel,
        model_name: str,
        messages: Sequence[Mapping[str, Any]],
        *,
        tools: Sequence[Tool] = (),
        stream: bool = True,
        max_rounds: int = 10,
        tool_called: Callable[[str, str, float], None] = lambda *_: None,
        spans: RoundSpans | None = None,
    ) -> None:
        """`tool_called` hears of each call: type, status, and how many seconds it took."""
        self._model = model
        self._model_name = model_name
        self._messages: list[Mapping[str, Any]] = list(messages)
        self._tools = {tool.name: tool for tool in tools}
        self._stream = stream
        self._max_rounds = max_rounds
        self._tool_called = tool_called
        self._spans = spans or RoundSpans(NO_TRACES, "", model_name, "")
        self._rounds: list[ModelRound] = []
        self.first_text_at: float | None = None  # by time.perf_counter()
        self.tool_calls: list[ToolCall] = []
        self.tool_results: list[ToolResult] = []

    @property
    def text(self) -> str:
        return "".join(text for taken in self._rounds for text in taken.text)

    async def usage(self) -> Usage:
        """Tokens of all rounds, also of one that was broken off; what the provider has not told is estimated."""
        return sum([await taken.usage() for taken in self._rounds], Usage())

    async def events(self) -> AsyncGenerator[Accepted | Token | ToolCall | ToolResult]:
        """Raises the RequestError of a failed call. Closing this iterator stops model and tools."""
        for number in range(1, self._max_rounds + 2):
            request = self._request(number)
            current = ModelRound(request)
            self._rounds.append(current)
            span = self._spans.chat(request.messages, request.tools, stream=request.stream)
            with current.traced(span):
                pieces = await current.ask(self._model)
                if number == 1:
                    yield Accepted()
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
            async with aclosing(self._call_tools(current, number)) as events:
                async for event in events:
                    yield event

    def _request(self, round_number: int) -> ChatRequest:
        offered = (
            [tool.definition for tool in self._tools.values()] if round_number <= self._max_rounds else []
        )
        return ChatRequest(self._model_name, tuple(self._messages), stream=self._stream, tools=offered)

    async def _call_tools(
        self, current: ModelRound, round_number: int
    ) -> AsyncGenerator[ToolCall | ToolResult]:
        """All calls of a round at the same time; results are told as they come, and read by the model in order."""
        ordered = [current.calls[index] for index in sorted(current.calls)]
        for number, call in enumerate(ordered):
            call.id = call.id or f"call_{round_number}_{number}"
        self._messages.append(_assistant_message("".join(current.text), ordered))
        for call in ordered:
            shown = self._shown(call)
            self.tool_calls.append(shown)
            yield shown
        tasks = {asyncio.ensure_future(self._timed_outcome(call)): call for call in ordered}
        outcomes: dict[CallParts, ToolOutcome] = {}
        try:
            pending = set(tasks)
            while pending:
                done, pending = await asyncio.wait(pending, return_when=asyncio.FIRST_COMPLETED)
                for task in done:
                    call, outcome = tasks[task], task.result()
                    outcomes[call] = outcome
                    result = ToolResult(
                        call.id, outcome.status, outcome.content, self._type(call), round_number
                    )
                    self.tool_results.append(result)
                    yield result
        finally:
            for task in tasks:
                task.cancel()
        for call in ordered:
            self._messages.append(
                {"role": "tool", "tool_call_id": call.id, "content": outcomes[call].for_model}
            )

    async def _timed_outcome(self, call: CallParts) -> ToolOutcome:
        clock = time.perf_counter()
        outcome = await self._outcome(call)
        self._tool_called(self._type(call), outcome.status, time.perf_counter() - clock)
        return outcome

    async def _outcome(self, call: CallParts) -> ToolOutcome:
        with self._spans.tool(call.name, call.id, call.arguments) as span:
            outcome = await self._call(call)
            self._spans.tool_answered(span, outcome.status, outcome.for_model)
        return outcome

    async def _call(self, call: CallParts) -> ToolOutcome:
        tool = self._tools.get(call.name)
        if tool is None:
            return _failure(f"There is no tool named {call.name!r}.")
        try:
            return await tool.call(parse_arguments("".join(call.arguments)))
        except LightspeedError as error:
            return _failure(str(error))
        except Exception:
            logger.exception("Tool %s failed", call.name)
            return _failure(f"The tool {call.name!r} failed.")

    def _shown(self, call: CallParts) -> ToolCall:
        arguments = parse_arguments("".join(call.arguments))
        tool = self._tools.get(call.name)
        return ToolCall(
            call.id, call.name, tool.shown_arguments(arguments) if tool else arguments, self._type(call)
        )

    def _type(self, call: CallParts) -> str:
        tool = self._tools.get(call.name)
        return tool.type if tool else "function_call"


def _assistant_message(spoken: str, calls: Sequence[CallParts]) -> dict[str, Any]:
    return {
        "role": "assistant",
        "content": spoken or None,
        "tool_calls": [
            {
                "id": call.id,
                "type": "function",
                "function": {
                    "name": call.name,
                    "arguments": json.dumps(parse_arguments("".join(call.arguments))),
                },
            }
            for call in calls
        ],
    }


def _failure(text: str) -> ToolOutcome:
    return ToolOutcome("failure", text, f"Error: {text}")
