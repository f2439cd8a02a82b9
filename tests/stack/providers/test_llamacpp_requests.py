"""The translation of requests and answers, without the engine."""

import json
from typing import Any

import pytest
from llama_stack_api import OpenAIChatCompletionRequestWithExtraBody, OpenAICompletionRequestWithExtraBody

from lightspeed.stack.providers.llamacpp.answers import chat_chunk, fold_chat
from lightspeed.stack.providers.llamacpp.errors import ContextLengthExceeded, engine_error
from lightspeed.stack.providers.llamacpp.requests import chat_body, completion_body

QUESTION = {"role": "user", "content": "What is the weather?"}
CALL = {"id": "call-1", "type": "function", "function": {"name": "weather", "arguments": '{"city": "Oslo"}'}}


def tool(name: str) -> dict[str, Any]:
    return {
        "type": "function",
        "function": {"name": name, "parameters": {"type": "object", "properties": {}}},
    }


def body(*messages: dict[str, Any], with_tools: bool = True, **params: Any) -> dict[str, Any]:
    request = OpenAIChatCompletionRequestWithExtraBody(model="m", messages=messages or [QUESTION], **params)
    return json.loads(chat_body(request, default_max_tokens=100, with_tools=with_tools))


def test_unset_parameters_are_left_to_the_engine() -> None:
    assert set(body()) == {"messages", "max_tokens", "stream", "stream_options", "return_progress"}


def test_the_limit_of_tokens() -> None:
    assert body()["max_tokens"] == 100
    assert body(max_tokens=7)["max_tokens"] == 7
    assert body(max_tokens=7, max_completion_tokens=5)["max_tokens"] == 5


def test_sampling_parameters_pass_and_unknown_ones_do_not() -> None:
    sent = body(temperature=0.0, top_p=0.5, seed=1, stop=["x"], top_k=3, id_slot=2)
    assert (sent["temperature"], sent["top_p"], sent["seed"], sent["stop"], sent["top_k"]) == (
        0.0,
        0.5,
        1,
        ["x"],
        3,
    )
    assert "id_slot" not in sent


def test_a_stream_carries_usage_only_when_it_is_asked_for() -> None:
    assert body(stream=True)["stream_options"] == {"include_usage": False}
    assert body(stream=True, stream_options={"include_usage": True})["stream_options"] == {
        "include_usage": True
    }
    assert body()["stream_options"] == {"include_usage": True}


def test_text_parts_are_joined_and_the_developer_speaks_as_the_system() -> None:
    parts = [{"type": "text", "text": "one"}, {"type": "text", "text": "two"}]
    sent = body({"role": "developer", "content": "Be short."}, {"role": "user", "content": parts})
    assert sent["messages"] == [
        {"role": "system", "content": "Be short."},
        {"role": "user", "content": "one\ntwo"},
    ]


def test_an_image_is_refused() -> None:
    with pytest.raises(ValueError, match="'image_url' is not supported"):
        body(
            {
                "role": "user",
                "content": [{"type": "image_url", "image_url": {"url": "http://example.com/a.png"}}],
            }
        )


def test_a_finished_tool_call_is_passed_on() -> None:
    sent = body(
        QUESTION,
        {"role": "assistant", "content": None, "tool_calls": [{**CALL, "index": 0}]},
        {"role": "tool", "tool_call_id": "call-1", "content": "sunny"},
    )
    assert sent["messages"][1:] == [
        {"role": "assistant", "content": "", "tool_calls": [CALL]},
        {"role": "tool", "tool_call_id": "call-1", "content": "sunny"},
    ]


def test_without_tools_in_the_template_a_tool_call_becomes_text() -> None:
    sent = body(
        QUESTION,
        {"role": "assistant", "content": "Let me look.", "tool_calls": [CALL]},
        {"role": "tool", "tool_call_id": "call-1", "content": "sunny"},
        with_tools=False,
        tools=[tool("weather")],
    )
    assert "tools" not in sent
    assert sent["messages"][1:] == [
        {"role": "assistant", "content": 'Let me look.\nTool call: weather({"city": "Oslo"})'},
        {"role": "user", "content": "Result of the tool call:\nsunny"},
    ]


@pytest.mark.parametrize(
    ("choice", "names", "sent_choice"),
    [
        (None, ["a", "b"], "auto"),
        ("required", ["a", "b"], "required"),
        ({"type": "function", "function": {"name": "b"}}, ["b"], "required"),
        ({"type": "allowed_tools", "allowed_tools": {"mode": "auto", "tools": [tool("a")]}}, ["a"], "auto"),
        (
            {
                "type": "allowed_tools",
                "allowed_tools": {"mode": "required", "tools": [{"type": "function", "name": "b"}]},
            },
            ["b"],
            "required",
        ),
    ],
)
def test_tool_choice(choice: Any, names: list[str], sent_choice: str) -> None:
    sent = body(tools=[tool("a"), tool("b")], tool_choice=choice)
    assert [each["function"]["name"] for each in sent["tools"]] == names
    assert sent["tool_choice"] == sent_choice


def test_a_choice_of_an_unknown_tool_is_refused() -> None:
    with pytest.raises(ValueError, match="names no tool"):
        body(tools=[tool("a")], tool_choice={"type": "function", "function": {"name": "z"}})


def test_several_answers_are_refused() -> None:
    with pytest.raises(ValueError, match="'n' must be 1"):
        body(n=2)


@pytest.mark.parametrize(
    ("prompt", "sent"), [("Once", "Once"), (["Once"], "Once"), ([1, 2], [1, 2]), ([[1, 2]], [1, 2])]
)
def test_the_prompt_of_a_completion(prompt: Any, sent: Any) -> None:
    request = OpenAICompletionRequestWithExtraBody(model="m", prompt=prompt)
    assert json.loads(completion_body(request, default_max_tokens=9))["prompt"] == sent


@pytest.mark.parametrize(
    "params",
    [{"prompt": ["a", "b"]}, {"prompt": ""}, {"prompt": "a", "echo": True}, {"prompt": "a", "suffix": "z"}],
)
def test_what_a_completion_cannot_do_is_refused(params: dict[str, Any]) -> None:
    request = OpenAICompletionRequestWithExtraBody(model="m", **params)
    with pytest.raises(ValueError, match=r"'(prompt|echo|suffix)'"):
        completion_body(request, default_max_tokens=9)


def test_errors_of_the_engine() -> None:
    too_long = {
        "code": 400,
        "message": "...",
        "type": "exceed_context_size_error",
        "n_prompt_tokens": 9,
        "n_ctx": 8,
    }
    error = engine_error(too_long, 100)
    assert isinstance(error, ContextLengthExceeded)
    assert str(error) == "The prompt of 9 tokens exceeds the context length of 8 tokens"
    assert type(engine_error({"code": 400, "message": "bad"}, 100)) is ValueError
    failure = engine_error({"code": 500, "message": "out of memory"}, 100)
    assert type(failure) is RuntimeError
    assert str(failure) == "out of memory"


def chunk(delta: dict[str, Any], finish_reason: str | None = None) -> bytes:
    choice = {"finish_reason": finish_reason, "index": 0, "delta": delta}
    head = {"created": 1, "id": "c", "model": "m", "object": "chat.completion.chunk"}
    return json.dumps({"choices": [choice], **head}, separators=(",", ":")).encode()


@pytest.mark.anyio
async def test_the_pieces_of_tool_calls_are_put_together() -> None:
    first = {"index": 0, "id": "x", "type": "function", "function": {"name": "a", "arguments": ""}}
    second = {"index": 1, "id": "y", "type": "function", "function": {"name": "b", "arguments": "{}"}}

    async def pieces() -> Any:
        yield chat_chunk(chunk({"role": "assistant", "content": None, "tool_calls": [first]}))
        yield chat_chunk(chunk({"tool_calls": [{"index": 0, "function": {"arguments": '{"q":'}}]}))
        yield chat_chunk(chunk({"tool_calls": [{"index": 0, "function": {"arguments": "1}"}}]}))
        yield chat_chunk(chunk({"tool_calls": [second]}))
        yield chat_chunk(chunk({}, "tool_calls"))

    answer = await fold_chat(pieces())
    choice = answer.choices[0]
    assert choice.finish_reason == "tool_calls"
    assert choice.message.content is None
    assert [(call.id, call.function.name, call.function.arguments) for call in choice.message.tool_calls] == [
        ("x", "a", '{"q":1}'),
        ("y", "b", "{}"),
    ]
