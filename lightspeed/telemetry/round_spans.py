"""The spans of the rounds of a Turn: calls of the model and of its tools."""

import json
import time
from collections.abc import Mapping, Sequence
from typing import Any

from lightspeed.telemetry.gen_ai_messages import answer, input_messages, system_instructions
from lightspeed.telemetry.tracing import Span, Tracing, Value


class ChatSpan:
    """One call of a model. It may be held over the yields of a generator: it never is the current span."""

    __slots__ = ("_began", "_keeps_content", "_span", "_waits")

    def __init__(self, span: Span, *, stream: bool, keeps_content: bool) -> None:
        self._span = span
        self._keeps_content = keeps_content
        self._began = time.perf_counter()
        self._waits = stream and span.traced is not None

    def first_chunk(self) -> None:
        """The first piece of the text has come; later ones do not count."""
        if self._waits:
            self._waits = False
            seconds = time.perf_counter() - self._began
            self._span.set({"gen_ai.response.time_to_first_chunk": seconds})

    def answered(
        self,
        *,
        finish_reason: str | None,
        input_tokens: int | None,
        output_tokens: int | None,
        text: Sequence[str],
        calls: Sequence[tuple[str, str, Sequence[str]]],
    ) -> None:
        """Tell how the answer ended. Each call is its id, its name and the pieces of its arguments."""
        if self._span.traced is None:
            return
        reason = finish_reason or ""
        self._span.set(
            {
                "gen_ai.response.finish_reasons": [reason] if reason else None,
                "gen_ai.usage.input_tokens": input_tokens,
                "gen_ai.usage.output_tokens": output_tokens,
                "gen_ai.output.messages": json.dumps([answer("".join(text), calls, reason)])
                if self._keeps_content
                else None,
            }
        )

    def fail(self, error: BaseException) -> None:
        """Tell of an error; an interruption is none."""
        if isinstance(error, Exception):
            self._span.fail(type(error).__qualname__)

    def end(self) -> None:
        self._span.end()


class RoundSpans:
    """Spans for one model in one conversation."""

    def __init__(self, tracing: Tracing, provider: str, model: str, conversation_id: str) -> None:
        self._tracing = tracing
        self._provider = provider
        self._model = model
        self._conversation_id = conversation_id

    def chat(
        self, messages: Sequence[Mapping[str, Any]], tools: Sequence[Mapping[str, Any]], *, stream: bool
    ) -> ChatSpan:
        """A call of the model with messages and tools of OpenAI's chat completions."""
        tracing = self._tracing
        attributes: dict[str, Value | None] = {
            "gen_ai.operation.name": "chat",
            "gen_ai.provider.name": self._provider,
            "gen_ai.request.model": self._model,
            "gen_ai.conversation.id": self._conversation_id,
            "gen_ai.request.stream": stream or None,
        }
        if tracing.active and tracing.keeps_content:
            attributes["gen_ai.system_instructions"] = json.dumps(system_instructions(messages))
            attributes["gen_ai.input.messages"] = json.dumps(input_messages(messages))
            attributes["gen_ai.tool.definitions"] = json.dumps(list(tools)) if tools else None
        span = tracing.span(f"chat {self._model}", attributes, kind="client")
        return ChatSpan(span, stream=stream, keeps_content=tracing.keeps_content)

    def tool(self, name: str, call_id: str, arguments: Sequence[str]) -> Span:
        """The execution of a tool, with the pieces of its arguments as the model has given them."""
        text: Value | None = "".join(arguments) if self._tracing.keeps_content else None
        return self._tracing.span(
            f"execute_tool {name}",
            {
                "gen_ai.operation.name": "execute_tool",
                "gen_ai.tool.name": name,
                "gen_ai.tool.call.id": call_id,
                "gen_ai.tool.type": "function",
                "gen_ai.conversation.id": self._conversation_id,
                "gen_ai.tool.call.arguments": text,
            },
        )

    def tool_answered(self, span: Span, status: str, result: str) -> None:
        """`status` is `failure`, or the tool has done its work."""
        if self._tracing.keeps_content:
            span.set({"gen_ai.tool.call.result": result})
        if status == "failure":
            span.fail(status)
