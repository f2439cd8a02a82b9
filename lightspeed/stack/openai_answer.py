"""A cheaper reading of OpenAI's answers, as openai_stream.py is for streams.

An answer of text and tool calls becomes small objects with the attributes of a `ChatCompletion`; any other is left
to the SDK.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from openai.types.chat import ChatCompletion

from lightspeed.stack.openai_stream import FunctionCall, Usage, function_call

_PLAIN_MESSAGE = frozenset({"role", "content", "refusal", "annotations", "tool_calls"})


@dataclass(slots=True)
class TextMessage:
    content: str | None
    role: str = "assistant"
    refusal: str | None = None
    annotations: Any = None
    audio: None = None
    function_call: None = None
    tool_calls: list[FunctionCall] | None = None


@dataclass(slots=True)
class TextAnswerChoice:
    message: TextMessage
    finish_reason: str | None
    index: int = 0
    logprobs: None = None


@dataclass(slots=True)
class TextAnswer:
    """Looks like a `ChatCompletion` with one choice, text and tool calls."""

    id: str
    created: int
    model: str
    choices: list[TextAnswerChoice]
    usage: Usage | None
    object: str = "chat.completion"
    service_tier: str | None = None
    system_fingerprint: str | None = None


def chat_completion(body: Any) -> TextAnswer | ChatCompletion:
    """The answer in the JSON body of a response. Raises ValueError for what is no chat completion."""
    if not isinstance(body, dict) or not isinstance(body.get("choices"), list):
        raise ValueError("The model provider answered with something that is no chat completion.")
    answer = _text_answer(body)
    return answer if answer is not None else ChatCompletion.construct(None, **body)


def _text_answer(body: Mapping[str, Any]) -> TextAnswer | None:
    try:
        (choice,) = body["choices"]
        message, usage = choice["message"], body.get("usage")
        extra = {key for key in message.keys() - _PLAIN_MESSAGE if message[key] is not None}
        if extra or choice.get("logprobs"):
            return None
        counts = usage and Usage(usage["prompt_tokens"], usage["completion_tokens"], usage["total_tokens"])
        calls = [function_call(call, index) for index, call in enumerate(message.get("tool_calls") or ())]
        text = TextMessage(message.get("content"), refusal=message.get("refusal"), tool_calls=calls or None)
        return TextAnswer(
            body.get("id") or "",
            body.get("created") or 0,
            body.get("model") or "",
            [TextAnswerChoice(text, choice.get("finish_reason"))],
            counts or None,
        )
    except (KeyError, TypeError, ValueError, AttributeError):
        return None
