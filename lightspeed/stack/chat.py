"""What is asked of a chat model, and what it answers piece by piece."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple


@dataclass(frozen=True, slots=True)
class ChatRequest:
    """`model` is the public name `provider/model`; messages and tools have the shapes of OpenAI's chat completions."""

    model: str
    messages: Sequence[Mapping[str, Any]]
    stream: bool
    tools: Sequence[Mapping[str, Any]] = ()
    parameters: Mapping[str, Any] = field(default_factory=dict)

    def arguments(self) -> dict[str, Any]:
        """The arguments of a call of OpenAI's chat completions, with token counts asked for of a stream, too."""
        arguments = {
            **self.parameters,
            "model": self.model,
            "messages": list(self.messages),
            "stream": self.stream,
        }
        if self.stream:
            arguments["stream_options"] = {"include_usage": True}
        if self.tools:
            arguments["tools"] = list(self.tools)
        return arguments


@dataclass(frozen=True, slots=True)
class ToolCallPiece:
    """A part of a tool call; pieces with the same index belong together, `arguments` are to be joined."""

    index: int
    id: str | None
    name: str | None
    arguments: str


class ChatPiece(NamedTuple):
    """A part of an answer. `finish_reason` stands in the last piece that has text, usage may follow it."""

    text: str = ""
    tool_calls: tuple[ToolCallPiece, ...] = ()
    finish_reason: str | None = None
    input_tokens: int | None = None
    output_tokens: int | None = None
