"""What the model answers to one request, and what goes wrong while it does."""

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import KW_ONLY, dataclass, field
from itertools import pairwise
from typing import Any

from tests.scripted_model.error import ApiError
from tests.scripted_model.moment import Moment

HEADERS = -1
"""The point before the status line of the response."""

_VOCABULARY = ("pods", "run", "on", "nodes", "and", "nodes", "hold", "pods")
_ARGUMENT_PIECE = 8


@dataclass(frozen=True, slots=True)
class ToolCall:
    """`arguments` as a mapping, or as text to send it verbatim, well-formed or not."""

    name: str
    arguments: Mapping[str, Any] | str = field(default_factory=dict)
    id: str | None = None


@dataclass(frozen=True, slots=True)
class Usage:
    prompt_tokens: int
    completion_tokens: int
    reasoning_tokens: int = 0
    cached_tokens: int = 0


@dataclass(eq=False)
class Reply:
    """One answer of the model.

    `text` is split at words, one token each; a sequence of strings gives the tokens themselves.
    `tokens` splits `text` into exactly that many pieces, or makes an answer of that many words.

    The points `error_at`, `hang_at`, `cut_at` and `malformed_at` count deltas already sent (reasoning,
    then text, then tool calls): `HEADERS` is before the response, 0 after its headers, `deltas()` after
    the last delta. In an answer that is not streamed every point from 0 on lies in the middle of the body.

    Delays are in seconds. With `done=False` a stream ends properly as HTTP but without its last chunks.
    The moments `reached` (the hang), `finished` (all sent) and `client_gone` tell of the first use;
    `sent` counts the deltas sent. A client that leaves is noticed while the reply waits or hangs.
    """

    text: str | Sequence[str] = ""
    _: KW_ONLY
    tokens: int | None = None
    reasoning: str | Sequence[str] = ""
    tool_calls: Sequence[ToolCall] = ()
    finish_reason: str | None = None
    usage: Usage | None = None
    headers: Mapping[str, str] = field(default_factory=dict)
    delay_headers: float = 0
    delay_first: float = 0
    delay_between: float = 0
    error: ApiError | None = None
    error_at: int = HEADERS
    hang_at: int | None = None
    cut_at: int | None = None
    malformed_at: int | None = None
    empty_choices: bool = False
    done: bool = True
    sent: int = field(default=0, init=False)
    reached: Moment = field(default_factory=Moment, init=False)
    released: Moment = field(default_factory=Moment, init=False)
    finished: Moment = field(default_factory=Moment, init=False)
    client_gone: Moment = field(default_factory=Moment, init=False)
    rendered: dict[Any, Any] = field(default_factory=dict, init=False, repr=False)

    def __post_init__(self) -> None:
        self.text_pieces = _split(self.text, self.tokens)
        self.reasoning_pieces = _split(self.reasoning, None)
        self.tool_deltas = [
            delta for index, call in enumerate(self.tool_calls) for delta in _tool_deltas(index, call)
        ]
        if self.malformed_at == HEADERS:
            raise ValueError("a malformed chunk follows the headers")
        for point in (self.error_at, self.hang_at, self.cut_at, self.malformed_at):
            if point is not None and not HEADERS <= point <= self.deltas():
                raise ValueError(f"point {point} lies outside of a reply of {self.deltas()} deltas")

    def deltas(self) -> int:
        return len(self.reasoning_pieces) + len(self.text_pieces) + len(self.tool_deltas)

    def content(self) -> str:
        return "".join(self.text_pieces)

    def release(self) -> None:
        """Let a hanging reply go on."""
        self.released.set()

    def finish(self) -> str:
        return self.finish_reason or ("tool_calls" if self.tool_calls else "stop")

    def points(self) -> frozenset[int]:
        """The points at which something happens."""
        error_at = self.error_at if self.error else None
        points = (error_at, self.hang_at, self.cut_at, self.malformed_at)
        return frozenset(point for point in points if point is not None)


def call_id(index: int, call: ToolCall) -> str:
    return call.id or f"call_{index}_{call.name}"


def call_arguments(call: ToolCall) -> str:
    return call.arguments if isinstance(call.arguments, str) else json.dumps(call.arguments)


def _split(text: str | Sequence[str], tokens: int | None) -> list[str]:
    if not isinstance(text, str):
        if tokens not in (None, len(text)):
            raise ValueError(f"{len(text)} tokens are given, {tokens} are asked for")
        return list(text)
    if tokens is None:
        return re.findall(r"\s*\S+|\s+", text)
    if not text:
        words = (_VOCABULARY[index % len(_VOCABULARY)] for index in range(tokens))
        return [f" {word}" if index else word for index, word in enumerate(words)]
    if not 0 < tokens <= len(text):
        raise ValueError(f"{len(text)} characters cannot be split into {tokens} tokens")
    cuts = [index * len(text) // tokens for index in range(tokens + 1)]
    return [text[start:end] for start, end in pairwise(cuts)]


def _tool_deltas(index: int, call: ToolCall) -> list[dict[str, Any]]:
    """The call's name first, then its arguments in pieces, as OpenAI streams them."""
    opening = {
        "index": index,
        "id": call_id(index, call),
        "type": "function",
        "function": {"name": call.name, "arguments": ""},
    }
    arguments = call_arguments(call)
    pieces = [arguments[at : at + _ARGUMENT_PIECE] for at in range(0, len(arguments), _ARGUMENT_PIECE)]
    return [opening, *({"index": index, "function": {"arguments": piece}} for piece in pieces)]
