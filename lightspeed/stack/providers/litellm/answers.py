"""litellm's answers as the stack's."""

import base64
import struct
from collections.abc import Sequence
from typing import Any

from llama_stack_api import (
    OpenAIChatCompletion,
    OpenAIChatCompletionChunk,
    OpenAIEmbeddingData,
    OpenAIEmbeddingsResponse,
    OpenAIEmbeddingUsage,
)

_FINISH_REASONS = frozenset({"stop", "length", "tool_calls", "content_filter", "function_call"})


def chat_completion(answer: Any) -> OpenAIChatCompletion:
    """A whole answer, from litellm's `ModelResponse`. Raises ValueError for one without a choice."""
    if not answer.choices:
        raise ValueError("The model provider answered with no choice.")
    choices = [
        {
            "index": choice.index,
            "finish_reason": _finish_reason(choice.finish_reason) or "stop",
            "message": _text_and_tools(choice.message) | {"role": "assistant"},
            "logprobs": _plain(getattr(choice, "logprobs", None)),
        }
        for choice in answer.choices
    ]
    return OpenAIChatCompletion.model_validate(_envelope(answer) | {"choices": choices})


def chat_chunk(chunk: Any, *, finished: bool) -> OpenAIChatCompletionChunk:
    """A chunk of a streamed answer, from litellm's `ModelResponseStream`.

    litellm ends every stream with a finish reason, also one that has broken off: unless the provider has
    `finished`, it is left out.
    """
    choices = [
        {
            "index": choice.index,
            "finish_reason": _finish_reason(choice.finish_reason) if finished else None,
            "delta": _text_and_tools(choice.delta) | {"role": choice.delta.role},
            "logprobs": _plain(getattr(choice, "logprobs", None)),
        }
        for choice in chunk.choices
    ]
    return OpenAIChatCompletionChunk.model_validate(_envelope(chunk) | {"choices": choices})


def embeddings(answer: Any, model: str, *, as_base64: bool) -> OpenAIEmbeddingsResponse:
    """The vectors in the order of the input, from litellm's `EmbeddingResponse`."""
    entries = [entry if isinstance(entry, dict) else entry.model_dump() for entry in answer.data]
    entries.sort(key=lambda entry: entry.get("index") or 0)
    tokens = answer.usage.prompt_tokens or 0 if answer.usage else 0
    return OpenAIEmbeddingsResponse(
        # Built without validation: checking each number costs more than it is worth.
        data=[
            OpenAIEmbeddingData.model_construct(
                object="embedding",
                embedding=_base64(entry["embedding"]) if as_base64 else entry["embedding"],
                index=index,
            )
            for index, entry in enumerate(entries)
        ],
        model=model,
        usage=OpenAIEmbeddingUsage(prompt_tokens=tokens, total_tokens=tokens),
    )


def _envelope(answer: Any) -> dict[str, Any]:
    usage = getattr(answer, "usage", None)
    return {
        "id": answer.id or "",
        "created": answer.created or 0,
        "model": answer.model or "",
        "usage": usage and _usage(usage),
    }


def _usage(usage: Any) -> dict[str, Any]:
    counts = {name: getattr(usage, name, None) or 0 for name in ("prompt_tokens", "completion_tokens")}
    details: dict[str, Any] = {}
    for name, part in (
        ("prompt_tokens_details", "cached_tokens"),
        ("completion_tokens_details", "reasoning_tokens"),
    ):
        count = getattr(getattr(usage, name, None), part, None)
        if count is not None:
            details[name] = {part: count}
    return counts | details | {"total_tokens": sum(counts.values())}


def _text_and_tools(message: Any) -> dict[str, Any]:
    calls = [
        {
            "index": getattr(call, "index", None),
            "id": call.id,
            # Only the first piece of a call has its name; the stack's model wants one in each.
            "function": {"name": call.function.name or "", "arguments": call.function.arguments or ""},
        }
        for call in message.tool_calls or ()
    ]
    return {
        "content": message.content,
        "reasoning_content": getattr(message, "reasoning_content", None),
        "refusal": getattr(message, "refusal", None),
        "tool_calls": calls or None,
    }


def _finish_reason(reason: str | None) -> str | None:
    return reason if reason is None or reason in _FINISH_REASONS else "stop"


def _plain(model: Any) -> Any:
    return model.model_dump() if hasattr(model, "model_dump") else model


def _base64(vector: Sequence[float]) -> str:
    return base64.b64encode(struct.pack(f"<{len(vector)}f", *vector)).decode("ascii")
