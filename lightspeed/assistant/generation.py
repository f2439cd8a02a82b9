"""The generation loop: the model speaks, calls tools, reads their results, and speaks again."""

import asyncio
import json
import logging
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import aclosing
from typing import Any, Protocol

from lightspeed.assistant.events import Token, ToolCall, ToolResult, Usage
from lightspeed.errors import LightspeedError, ModelRefused
from lightspeed.stack.chat import ChatPiece, ChatRequest
from lightspeed.tools.arguments import parse_arguments
from lightspeed.tools.tool import Tool, ToolOutcome

logger = logging.getLogger(__name__)


class ChatModel(Protocol):
    async def chat(self, request: ChatRequest) -> AsyncGenerator[ChatPiece]: ...


class Accepted:
    """The model has accepted the question; comes before anything else."""


class _Call:
    """A tool call as it grows from its pieces."""

    def __init__(self) -> None:
        self.id = ""
        self.name = ""
        self.arguments: list[str] = []


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
    ) -> None:
        self._model = model
        self._model_name = model_name
        self._messages: list[Mapping[str, Any]] = list(messages)
        self._tools = {tool.name: tool for tool in tools}
        self._stream = stream
        self._max_rounds = max_rounds
        self._text: list[str] = []
        self._earlier_usage = Usage()
        self._round_usage = Usage()
        self.tool_calls: list[ToolCall] = []
        self.tool_results: list[ToolResult] = []

    @property
    def text(self) -> str:
        return "".join(self._text)

    @property
    def usage(self) -> Usage:
        return self._earlier_usage + self._round_usage

    async def events(self) -> AsyncGenerator[Accepted | Token | ToolCall | ToolResult]:
        """Raises the RequestError of a failed call. Closing this iterator stops model and tools."""
        for round_number in range(1, self._max_rounds + 2):
            calls: dict[int, _Call] = {}
            spoken = len(self._text)
            self._earlier_usage, self._round_usage = self.usage, Usage()
            pieces = await self._model.chat(self._request(round_number))
            if round_number == 1:
                yield Accepted()
            async with aclosing(pieces):
                async for piece in pieces:
                    if piece.text:
                        self._text.append(piece.text)
                        yield Token(piece.text)
                    if piece.tool_calls or piece.input_tokens is not None:
                        self._take(piece, calls)
            if not calls:
                return
            if round_number > self._max_rounds:
                if not self.text:
                    raise ModelRefused(
                        f"The model called tools for {self._max_rounds} rounds and gave no answer."
                    )
                return
            async with aclosing(
                self._call_tools(calls, "".join(self._text[spoken:]), round_number)
            ) as events:
                async for event in events:
                    yield event

    def _request(self, round_number: int) -> ChatRequest:
        offered = (
            [tool.definition for tool in self._tools.values()] if round_number <= self._max_rounds else []
        )
        return ChatRequest(self._model_name, self._messages, stream=self._stream, tools=offered)

    def _take(self, piece: ChatPiece, calls: dict[int, _Call]) -> None:
        for part in piece.tool_calls:
            index = part.index
            known = calls.get(index)
            if known is not None and part.id and known.id and part.id != known.id:
                # Some servers number all calls alike and tell them apart by their ids only.
                index = next((i for i, other in calls.items() if other.id == part.id), max(calls) + 1)
            call = calls.setdefault(index, _Call())
            call.id = call.id or part.id or ""
            call.name = call.name or part.name or ""
            call.arguments.append(part.arguments)
        if piece.input_tokens is not None:
            self._round_usage = Usage(piece.input_tokens, piece.output_tokens or 0)

    async def _call_tools(
        self, calls: Mapping[int, _Call], spoken: str, round_number: int
    ) -> AsyncGenerator[ToolCall | ToolResult]:
        """All calls of a round at the same time; results are told as they come, and read by the model in order."""
        ordered = [calls[index] for index in sorted(calls)]
        for number, call in enumerate(ordered):
            call.id = call.id or f"call_{round_number}_{number}"
        self._messages.append(_assistant_message(spoken, ordered))
        for call in ordered:
            shown = self._shown(call)
            self.tool_calls.append(shown)
            yield shown
        tasks = {asyncio.ensure_future(self._outcome(call)): call for call in ordered}
        outcomes: dict[_Call, ToolOutcome] = {}
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

    async def _outcome(self, call: _Call) -> ToolOutcome:
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

    def _shown(self, call: _Call) -> ToolCall:
        arguments = parse_arguments("".join(call.arguments))
        tool = self._tools.get(call.name)
        return ToolCall(
            call.id, call.name, tool.shown_arguments(arguments) if tool else arguments, self._type(call)
        )

    def _type(self, call: _Call) -> str:
        tool = self._tools.get(call.name)
        return tool.type if tool else "function_call"


def _assistant_message(spoken: str, calls: Sequence[_Call]) -> dict[str, Any]:
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
