"""Reading OpenAI's answers: whatever the SDK understands, we understand alike."""

from typing import Any

import pytest
from openai.types.chat import ChatCompletion

from lightspeed.stack.openai_answer import TextAnswer, chat_completion

USAGE = {"prompt_tokens": 3, "completion_tokens": 2, "total_tokens": 5}
CALL = {"id": "t1", "type": "function", "function": {"name": "f", "arguments": "{}"}}


def body(message: dict[str, Any], **fields: Any) -> dict[str, Any]:
    choice = {"index": 0, "message": {"role": "assistant"} | message, "finish_reason": "stop"}
    return {
        "id": "c1",
        "object": "chat.completion",
        "created": 7,
        "model": "m1",
        "choices": [choice],
    } | fields


def seen(answer: Any) -> Any:
    choices = [
        (
            choice.message.content,
            choice.finish_reason,
            [
                (call.id, call.function.name, call.function.arguments)
                for call in choice.message.tool_calls or ()
            ],
        )
        for choice in answer.choices
    ]
    usage = answer.usage and (answer.usage.prompt_tokens, answer.usage.completion_tokens)
    return answer.id, answer.created, answer.model, choices, usage


@pytest.mark.parametrize(
    ("given", "light"),
    [
        (body({"content": "Zwei Knötchen 🌍", "refusal": None, "tool_calls": None}, usage=USAGE), True),
        (body({"content": "No usage."}), True),
        (body({"content": None, "tool_calls": [CALL]}, usage=USAGE), True),
        (body({"content": "hm", "reasoning_content": "because"}), False),
        (body({"content": "x"}) | {"choices": []}, False),
    ],
)
def test_answers_look_like_those_of_the_sdk(given: dict[str, Any], light: bool) -> None:
    answer = chat_completion(given)
    assert isinstance(answer, TextAnswer) is light
    assert seen(answer) == seen(ChatCompletion.construct(None, **given))


@pytest.mark.parametrize("given", [None, [], "text", {}, {"choices": None}])
def test_what_is_no_chat_completion_is_refused(given: Any) -> None:
    with pytest.raises(ValueError, match="no chat completion"):
        chat_completion(given)
