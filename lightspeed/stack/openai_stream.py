"""A cheaper reading of OpenAI's event stream.

The SDK builds a pydantic model for each token, which costs more than everything else that the service does for it.
Chunks of text and of tool calls, the last one, and the one with the usage become small objects with the same
attributes; all others are left to the SDK.
"""

import json
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from typing import Any

from openai import APIError, AsyncStream
from openai.types.chat import ChatCompletionChunk

_PLAIN_DELTA = frozenset({"content", "role", "refusal", "tool_calls"})


@dataclass(slots=True)
class CalledFunction:
    name: str | None
    arguments: str | None


@dataclass(slots=True)
class FunctionCall:
    """A call of a function; in a stream, a part of one, and `index` says of which."""

    index: int
    id: str | None
    function: CalledFunction | None
    type: str | None = "function"


@dataclass(slots=True)
class TextDelta:
    content: str | None
    role: str | None = None
    refusal: str | None = None
    tool_calls: list[FunctionCall] | None = None
    function_call: None = None


@dataclass(slots=True)
class TextChoice:
    index: int
    delta: TextDelta
    finish_reason: str | None = None
    logprobs: None = None


@dataclass(slots=True)
class Usage:
    prompt_tokens: int
    completion_tokens: int
    total_tokens: int
    completion_tokens_details: Any = None
    prompt_tokens_details: Any = None


@dataclass(slots=True)
class TextChunk:
    """Looks like a `ChatCompletionChunk` with text and tool calls only, or with the usage and no choice."""

    id: str
    created: int
    model: str
    choices: list[TextChoice]
    object: str = "chat.completion.chunk"
    usage: Usage | None = None
    service_tier: str | None = None
    system_fingerprint: str | None = None


class TextChunkStream(AsyncStream[ChatCompletionChunk]):
    """Reads `text/event-stream` as https://html.spec.whatwg.org/multipage/server-sent-events.html has it.

    Raises `openai.APIError` for an error object in the stream and `ValueError` for data that is not JSON.
    """

    async def __stream__(self) -> AsyncIterator[Any]:
        try:
            async for data in _event_data(self.response.aiter_bytes()):
                if data.startswith(b"[DONE]"):
                    break
                chunk = json.loads(data)
                text = _text_chunk(chunk)
                yield text if text is not None else self._full_chunk(chunk)
        finally:
            await self.response.aclose()

    def _full_chunk(self, chunk: Any) -> Any:
        error = chunk.get("error") if isinstance(chunk, dict) else None
        if error:
            message = error.get("message") if isinstance(error, dict) else None
            raise APIError(
                message if isinstance(message, str) else "An error occurred during streaming",
                request=self.response.request,
                body=error,
            )
        cast_to: Any = ChatCompletionChunk
        return self._client._process_response_data(data=chunk, cast_to=cast_to, response=self.response)


async def _event_data(blocks: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    """The `data` of each event; other fields are of no use to a chat completion."""
    rest = b""
    lines: list[bytes] = []
    async for block in blocks:
        pieces = (rest + block).split(b"\n")
        rest = pieces.pop()
        for piece in pieces:
            line = piece.rstrip(b"\r")
            if line.startswith(b"data:"):
                lines.append(line[5:].strip())
            elif not line and lines:
                yield lines[0] if len(lines) == 1 else b"\n".join(lines)
                lines = []
    if rest.startswith(b"data:"):
        lines.append(rest[5:].strip())
    if lines:
        yield b"\n".join(lines)


def _text_chunk(chunk: Any) -> TextChunk | None:
    try:
        if chunk.get("error"):
            return None
        usage, choices = chunk.get("usage"), chunk["choices"]
        if usage:
            return _usage_chunk(chunk, usage) if not choices else None
        (choice,) = choices
        delta = choice["delta"]
        if choice.get("logprobs") or any(delta[key] is not None for key in delta.keys() - _PLAIN_DELTA):
            return None
        calls = delta.get("tool_calls")
        text = TextDelta(
            delta.get("content"),
            delta.get("role"),
            delta.get("refusal"),
            [function_call(call) for call in calls] if calls else None,
        )
        return TextChunk(
            chunk.get("id") or "",
            chunk.get("created") or 0,
            chunk.get("model") or "",
            [TextChoice(choice.get("index") or 0, text, choice.get("finish_reason"))],
        )
    except (KeyError, TypeError, ValueError, AttributeError):
        return None


def function_call(call: Mapping[str, Any], index: int = 0) -> FunctionCall:
    """A call in an answer or in a chunk of one. Raises ValueError for one that is not of the usual form."""
    kind, function, number = call.get("type"), call.get("function"), call.get("index")
    if kind not in (None, "function") or not isinstance(number, int | None):
        raise ValueError("not a call of a function")
    return FunctionCall(
        index if number is None else number,
        _text(call.get("id")),
        None
        if function is None
        else CalledFunction(_text(function.get("name")), _text(function.get("arguments"))),
        kind,
    )


def _text(value: Any) -> str | None:
    if value is not None and not isinstance(value, str):
        raise ValueError("not a text")
    return value


def _usage_chunk(chunk: Mapping[str, Any], usage: Mapping[str, Any]) -> TextChunk:
    counts = (usage["prompt_tokens"], usage["completion_tokens"], usage["total_tokens"])
    return TextChunk(
        chunk.get("id") or "",
        chunk.get("created") or 0,
        chunk.get("model") or "",
        [],
        usage=Usage(*counts),
    )
