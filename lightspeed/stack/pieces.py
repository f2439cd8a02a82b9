"""Chat completions of OpenAI's shape as pieces of an answer."""

from collections.abc import AsyncGenerator
from typing import Any

from lightspeed.stack.chat import ChatPiece, ToolCallPiece


async def whole_answer(answer: Any) -> AsyncGenerator[ChatPiece]:
    """A chat completion as a single piece."""
    choice = answer.choices[0] if answer.choices else None
    message = choice.message if choice is not None else None
    calls = (message.tool_calls or ()) if message is not None else ()
    yield ChatPiece(
        text=_text(message.content) if message is not None else "",
        tool_calls=tuple(
            ToolCallPiece(index, call.id, call.function.name, call.function.arguments or "")
            for index, call in enumerate(calls)
            if call.function is not None
        ),
        finish_reason=(choice.finish_reason if choice is not None else None) or "stop",
        input_tokens=answer.usage.prompt_tokens if answer.usage else None,
        output_tokens=answer.usage.completion_tokens if answer.usage else None,
    )


def chunk_piece(chunk: Any) -> ChatPiece:
    """What a chunk of a streamed chat completion brings."""
    usage = chunk.usage
    if not chunk.choices:
        if usage is None:
            return ChatPiece()
        return ChatPiece(input_tokens=usage.prompt_tokens, output_tokens=usage.completion_tokens)
    choice = chunk.choices[0]
    delta = choice.delta
    calls = delta.tool_calls
    if calls is None and usage is None:
        return ChatPiece(delta.content or "", (), choice.finish_reason)
    return ChatPiece(
        delta.content or "",
        tuple(
            ToolCallPiece(
                call.index or 0,
                call.id,
                call.function.name if call.function else None,
                (call.function.arguments if call.function else None) or "",
            )
            for call in calls or ()
        ),
        choice.finish_reason,
        usage.prompt_tokens if usage else None,
        usage.completion_tokens if usage else None,
    )


def _text(content: Any) -> str:
    if content is None or isinstance(content, str):
        return content or ""
    return "".join(part.text for part in content if getattr(part, "text", None))
