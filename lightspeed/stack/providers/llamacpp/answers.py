"""The engine's chunks, turned into the stack's answers."""

from collections.abc import AsyncIterable
from dataclasses import dataclass, field
from typing import Any

import pydantic_core
from llama_stack_api import OpenAIChatCompletion, OpenAIChatCompletionChunk
from llama_stack_api.inference.models import OpenAICompletion, OpenAICompletionChoice

TOOL_CALLS = b'"tool_calls":['


def chat_chunk(data: bytes) -> OpenAIChatCompletionChunk:
    """One chunk of a streamed chat answer."""
    if TOOL_CALLS not in data:
        return OpenAIChatCompletionChunk.model_validate_json(data)
    chunk = pydantic_core.from_json(data)
    for choice in chunk["choices"]:
        for call in choice["delta"].get("tool_calls") or ():
            # Only the first piece of a call has its name; the stack's model wants one in each.
            function = call.setdefault("function", {})
            function["name"] = function.get("name") or ""
            function["arguments"] = function.get("arguments") or ""
    return OpenAIChatCompletionChunk.model_validate(chunk)


def completion_chunk(data: bytes) -> OpenAICompletion:
    """One chunk of a streamed completion; `finish_reason` is None until the last."""
    chunk = pydantic_core.from_json(data)
    choices = [
        OpenAICompletionChoice.model_construct(
            index=choice["index"], text=choice["text"], finish_reason=choice["finish_reason"]
        )
        for choice in chunk["choices"]
    ]
    return OpenAICompletion.model_construct(
        id=chunk["id"], created=chunk["created"], model=chunk["model"], choices=choices
    )


async def fold_chat(chunks: AsyncIterable[OpenAIChatCompletionChunk]) -> OpenAIChatCompletion:
    """The whole chat answer, from the chunks of its stream."""
    answer = _ChatAnswer()
    async for chunk in chunks:
        answer.add(chunk)
    return answer.completion()


async def fold_completion(chunks: AsyncIterable[OpenAICompletion]) -> OpenAICompletion:
    """The whole completion, from the chunks of its stream."""
    texts: list[str] = []
    finish_reason = "stop"
    last: OpenAICompletion | None = None
    async for chunk in chunks:
        last = chunk
        for choice in chunk.choices:
            texts.append(choice.text)
            finish_reason = choice.finish_reason or finish_reason
    if last is None:
        raise RuntimeError("llama.cpp ended without an answer")
    choice = OpenAICompletionChoice(index=0, text="".join(texts), finish_reason=finish_reason)
    return OpenAICompletion(id=last.id, created=last.created, model=last.model, choices=[choice])


@dataclass
class _ChatAnswer:
    last: OpenAIChatCompletionChunk | None = None
    texts: list[str] = field(default_factory=list)
    calls: dict[int, dict[str, Any]] = field(default_factory=dict)
    logprobs: list[Any] = field(default_factory=list)
    finish_reason: str = "stop"
    usage: Any = None

    def add(self, chunk: OpenAIChatCompletionChunk) -> None:
        self.last = chunk
        self.usage = chunk.usage or self.usage
        for choice in chunk.choices:
            self.finish_reason = choice.finish_reason or self.finish_reason
            if choice.delta.content:
                self.texts.append(choice.delta.content)
            if choice.logprobs and choice.logprobs.content:
                self.logprobs += choice.logprobs.content
            for call in choice.delta.tool_calls or ():
                self._add_call(call)

    def completion(self) -> OpenAIChatCompletion:
        if self.last is None:
            raise RuntimeError("llama.cpp ended without an answer")
        message = {
            "role": "assistant",
            "content": "".join(self.texts) or (None if self.calls else ""),
            "tool_calls": list(self.calls.values()) or None,
        }
        choice = {"index": 0, "message": message, "finish_reason": self.finish_reason}
        if self.logprobs:
            choice["logprobs"] = {"content": self.logprobs}
        return OpenAIChatCompletion.model_validate(
            {
                "id": self.last.id,
                "created": self.last.created,
                "model": self.last.model,
                "choices": [choice],
                "usage": self.usage,
            }
        )

    def _add_call(self, piece: Any) -> None:
        call = self.calls.setdefault(
            piece.index or 0, {"id": None, "type": "function", "function": {"name": "", "arguments": ""}}
        )
        call["id"] = piece.id or call["id"]
        call["function"]["name"] += piece.function.name
        call["function"]["arguments"] += piece.function.arguments
