"""The provider inside the real stack, before a model server that speaks OpenAI's protocol."""

import base64
import logging
import os
import struct
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import openai
import pytest
from blockbuster import BlockBuster
from llama_stack_api import OpenAIChatCompletionRequestWithExtraBody

from lightspeed.errors import (
    ConfigurationError,
    ModelQuotaExceeded,
    ModelRefused,
    NotFound,
    PromptTooLong,
    ProviderUnavailable,
    RequestError,
    StartupError,
)
from lightspeed.stack.chat import ChatRequest
from lightspeed.stack.providers.litellm import get_provider_impl
from lightspeed.stack.providers.litellm.adapter import LitellmInference
from lightspeed.stack.providers.litellm.config import LitellmConfig
from tests.embedded import embedded_stack, storage
from tests.scripted_model import (
    ApiError,
    Reply,
    ScriptedModel,
    ToolCall,
    Usage,
    context_length_exceeded,
    rate_limit_exceeded,
    server_error,
)

if TYPE_CHECKING:
    from lightspeed.stack.client import EmbeddedStack

pytestmark = [pytest.mark.anyio, pytest.mark.filterwarnings("ignore::DeprecationWarning:litellm.*")]

KEY = "hunter2-scripted"
TOOL = {
    "type": "function",
    "function": {
        "name": "look_up",
        "parameters": {"type": "object", "properties": {"id": {"type": "string"}}},
    },
}


@pytest.fixture(autouse=True)
def looks_for_the_certificates(no_blocking_calls: BlockBuster) -> None:
    """litellm asks whether the file of SSL_CERT_FILE is there when it makes a client, once in ten minutes."""
    allowed = {"get_ssl_verify", "get_ssl_configuration"}
    no_blocking_calls.functions["os.stat"].can_block_in("litellm/llms/custom_httpx/http_handler.py", allowed)


def models(server: ScriptedModel, **settings: Any) -> dict[str, Any]:
    """Two models of the server: one that chats, one that makes embeddings."""
    access = {"api_key": KEY, "api_base": server.base_url, "extra": {"max_retries": 0}} | settings
    return {
        "chat": {"model": "openai/scripted", "context_length": 9000, **access},
        "vectors": {"model": "openai/scripted-embedding", "embedding_dimension": 384, **access},
    }


def run_configuration(folder: Path, offered: dict[str, Any]) -> dict[str, Any]:
    provider = {
        "provider_id": "gateway",
        "provider_type": "inline::litellm",
        "module": "lightspeed.stack.providers.litellm",
        "config": {"models": offered},
    }
    return {
        "version": 2,
        "distro_name": "tests",
        "apis": ["inference"],
        "providers": {"inference": [provider]},
        "storage": storage(folder),
    }


@asynccontextmanager
async def asked(
    folder: Path, *replies: Reply, **settings: Any
) -> "AsyncIterator[tuple[EmbeddedStack, ScriptedModel]]":
    """The stack with the provider, and the server behind it, which wants KEY."""
    async with (
        ScriptedModel(*replies, api_key=KEY) as server,
        embedded_stack(run_configuration(folder, models(server, **settings))) as stack,
    ):
        yield stack, server


def question(*, stream: bool, tools: bool = False, **parameters: Any) -> ChatRequest:
    messages = [{"role": "user", "content": "How many nodes?"}]
    return ChatRequest(
        "gateway/chat",
        messages,
        stream=stream,
        tools=[TOOL] if tools else [],
        parameters={"temperature": 0.5, **parameters},
    )


async def answer(stack: "EmbeddedStack", request: ChatRequest) -> list[Any]:
    return [piece async for piece in await stack.chat(request)]


async def test_its_models_are_listed(tmp_path: Path) -> None:
    async with asked(tmp_path) as (stack, _):
        listed = {model.identifier: model for model in await stack.models()}
    assert listed.keys() == {"gateway/chat", "gateway/vectors"}
    assert listed["gateway/chat"].model_type == "llm"
    assert listed["gateway/chat"].metadata["context_length"] == 9000
    assert listed["gateway/vectors"].model_type == "embedding"
    assert listed["gateway/vectors"].metadata["embedding_dimension"] == 384


@pytest.mark.parametrize("stream", [False, True])
async def test_an_answer(tmp_path: Path, stream: bool) -> None:
    reply = Reply("Two nodes run.", usage=Usage(11, 3))
    async with asked(tmp_path, reply) as (stack, server):
        pieces = await answer(stack, question(stream=stream, seed=7))
        [received] = server.chats
    assert "".join(piece.text for piece in pieces) == "Two nodes run."
    assert len([piece for piece in pieces if piece.text]) == (3 if stream else 1)
    assert [piece.finish_reason for piece in pieces if piece.finish_reason] == ["stop"]
    assert [piece.input_tokens for piece in pieces if piece.input_tokens] == [11]
    assert [piece.output_tokens for piece in pieces if piece.output_tokens] == [3]
    assert received.headers["authorization"] == f"Bearer {KEY}"
    expected = {"model": "scripted", "temperature": 0.5, "seed": 7}
    assert expected.items() <= received.body.items()
    assert [message["content"] for message in received.body["messages"]] == ["How many nodes?"]
    assert received.body.keys() <= {*expected, "messages", "stream", "stream_options"}


@pytest.mark.parametrize("stream", [False, True])
async def test_tools_are_passed_through(tmp_path: Path, stream: bool) -> None:
    reply = Reply(tool_calls=[ToolCall("look_up", {"id": "a longer name"}), ToolCall("look_up", {"id": "b"})])
    async with asked(tmp_path, reply) as (stack, server):
        pieces = await answer(stack, question(stream=stream, tools=True))
        [received] = server.chats
    calls: dict[int, list[str]] = {}
    for call in (call for piece in pieces for call in piece.tool_calls):
        told = calls.setdefault(call.index, ["", "", ""])
        for position, text in enumerate((call.id, call.name, call.arguments)):
            told[position] += text or ""
    assert calls == {
        0: ["call_0_look_up", "look_up", '{"id": "a longer name"}'],
        1: ["call_1_look_up", "look_up", '{"id": "b"}'],
    }
    assert pieces[-1].finish_reason == "tool_calls" or stream
    assert received.body["tools"] == [TOOL]


async def test_earlier_tool_calls_are_sent_back(tmp_path: Path) -> None:
    call = {"id": "call_1", "type": "function", "function": {"name": "look_up", "arguments": "{}"}}
    messages = [
        {"role": "user", "content": "How many?"},
        {"role": "assistant", "content": None, "tool_calls": [call]},
        {"role": "tool", "tool_call_id": "call_1", "content": "2"},
    ]
    async with asked(tmp_path) as (stack, server):
        await answer(stack, ChatRequest("gateway/chat", messages, tools=[TOOL], stream=True))
        [received] = server.chats
    assert received.body["messages"][1]["tool_calls"] == [call]
    assert received.body["messages"][2] == messages[2]


async def test_embeddings(tmp_path: Path) -> None:
    async with asked(tmp_path) as (stack, _):
        create = stack.client.embeddings.create
        texts = ["two nodes", "ripe bananas"]
        numbers = await create(model="gateway/vectors", input=texts)
        packed = await create(model="gateway/vectors", input=texts, encoding_format="base64")
        model = await stack.default_embedding_model()
    first, second = ([*entry.embedding] for entry in numbers.data)
    assert len(first) == len(second) == 384
    assert first != second
    unpacked = [struct.unpack("<384f", base64.b64decode(entry.embedding)) for entry in packed.data]
    assert unpacked == [pytest.approx(first), pytest.approx(second)]
    assert numbers.usage.prompt_tokens > 0
    assert (model.name, model.dimension) == ("gateway/vectors", 384)


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(
    ("failure", "expected", "words"),
    [
        (rate_limit_exceeded(7), ModelQuotaExceeded, ""),
        (context_length_exceeded(), PromptTooLong, ""),
        (server_error(503), ProviderUnavailable, "status 503"),
        (server_error(500), ModelRefused, "The server had an error while processing your request."),
        (
            ApiError(400, f"No such thing for {KEY} at all", "invalid_request_error"),
            ModelRefused,
            "No such thing for ********** at all",
        ),
    ],
)
async def test_what_the_server_refuses(
    tmp_path: Path, stream: bool, failure: ApiError, expected: type[RequestError], words: str
) -> None:
    async with asked(tmp_path, Reply(error=failure)) as (stack, _):
        with pytest.raises(expected) as raised:
            await answer(stack, question(stream=stream))
    assert type(raised.value) is expected
    assert words in raised.value.cause
    assert "litellm" not in raised.value.cause
    if expected is ModelQuotaExceeded:
        assert raised.value.headers == {"Retry-After": "7"}


async def test_a_wrong_key_is_told_without_the_key(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    wrong = "hunter2-wrong-key"
    caplog.set_level(logging.DEBUG)
    async with asked(tmp_path, api_key=wrong) as (stack, _):
        for stream in (False, True):
            with pytest.raises(ModelRefused, match="rejected the credentials") as raised:
                await answer(stack, question(stream=stream))
            assert wrong not in str(raised.value.cause)
    output = capfd.readouterr()
    assert wrong not in caplog.text + output.out + output.err
    assert "Give Feedback" not in output.out + output.err
    assert not [record for record in caplog.records if record.name.startswith("LiteLLM")]


async def test_a_server_that_is_away(tmp_path: Path) -> None:
    async with asked(tmp_path) as (stack, server):
        provider = LitellmInference(LitellmConfig.model_validate({"models": models(server)}))
        assert await provider.health() == {"status": "OK"}
        server.stop()
        for stream in (False, True):
            with pytest.raises(ProviderUnavailable):
                await answer(stack, question(stream=stream))
        health = await provider.health()
        assert health["status"] == "Error"
        assert health["message"] == "No server of its models can be reached."


async def test_a_server_that_does_not_answer_in_time(tmp_path: Path) -> None:
    reply = Reply("Too late.", hang_at=-1)
    async with asked(tmp_path, reply, extra={"max_retries": 0, "timeout": 0.3}) as (stack, _):
        with pytest.raises(ProviderUnavailable, match="in time"):
            await answer(stack, question(stream=False))


@pytest.mark.parametrize(
    ("reply", "expected", "words"),
    [
        (Reply("one two three", cut_at=2), ProviderUnavailable, ""),
        (Reply("one two three", error=server_error(), error_at=2), ModelRefused, "The server had an error"),
        (Reply("one two three", done=False), ModelRefused, "before the answer was complete"),
    ],
)
async def test_a_stream_that_breaks_off(
    tmp_path: Path, reply: Reply, expected: type[RequestError], words: str
) -> None:
    texts = []
    async with asked(tmp_path, reply) as (stack, _):
        pieces = await stack.chat(question(stream=True))
        with pytest.raises(expected) as raised:  # noqa: PT012 - it breaks off somewhere in the loop
            async for piece in pieces:
                texts.append(piece.text)  # noqa: PERF401 - it must not be lost with the error
    assert "".join(texts).startswith("one two")
    assert words in raised.value.cause


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(
    "model",
    ["anthropic/claude-sonnet-4-5", "azure/gpt-4o", "gemini/gemini-2.5-flash", "mistral/m", "ollama_chat/m"],
)
async def test_failures_are_the_same_whatever_litellm_speaks(model: str, stream: bool) -> None:
    """The server refuses all of them, whether it knows the protocol or not."""
    messages: list[Any] = [{"role": "user", "content": "How many?"}]
    params = OpenAIChatCompletionRequestWithExtraBody(model="chat", messages=messages, stream=stream)
    extra = (
        {"max_retries": 0, "api_version": "2024-06-01"} if model.startswith("azure") else {"max_retries": 0}
    )
    async with ScriptedModel(api_key="another-key") as server:
        settings = {"model": model, "api_key": KEY, "api_base": server.base_url, "extra": extra}
        provider = await get_provider_impl(LitellmConfig.model_validate({"models": {"chat": settings}}), {})
        with pytest.raises(openai.APIStatusError) as refused:
            await provider.openai_chat_completion(params)
        server.stop()
        with pytest.raises(openai.APIConnectionError) as away:
            await provider.openai_chat_completion(params)
        await provider.shutdown()
    assert (refused.value.status_code, str(refused.value)) == (401, "Incorrect API key provided.")
    assert str(away.value) == "Connection error."


async def test_closing_an_answer_closes_the_connection(tmp_path: Path) -> None:
    reply = Reply("one two three", hang_at=2)
    async with asked(tmp_path, reply) as (stack, _):
        pieces = await stack.chat(question(stream=True))
        while (await anext(pieces)).text != " two":
            pass
        await pieces.aclose()
        await reply.client_gone.wait(timeout=10)


async def test_clients_cannot_choose_where_it_calls(tmp_path: Path) -> None:
    async with asked(tmp_path) as (stack, server):
        pieces = await answer(
            stack,
            question(stream=False, api_base="http://127.0.0.1:9/v1", mock_response="made up", top_k=5),
        )
        assert "".join(piece.text for piece in pieces) == "A scripted answer."
        [received] = server.chats
    assert received.body["top_k"] == 5
    assert "mock_response" not in received.body


async def test_a_model_that_is_not_configured(tmp_path: Path) -> None:
    async with asked(tmp_path) as (stack, _):
        with pytest.raises(NotFound):
            await answer(
                stack, ChatRequest("gateway/other", [{"role": "user", "content": "Hello"}], stream=False)
            )


@pytest.mark.parametrize(
    ("offered", "error", "words"),
    [
        ({"m": {"model": "nosuch/thing"}}, StartupError, "'m': litellm knows no provider of 'nosuch/thing'"),
        (
            {"m": {"model": "openai/x", "extra": {"api_key": KEY}}},
            ConfigurationError,
            "must not hold api_key",
        ),
        ({}, ConfigurationError, "models"),
    ],
)
async def test_wrong_settings_are_one_line(
    tmp_path: Path, offered: dict[str, Any], error: type[Exception], words: str
) -> None:
    with pytest.raises(error) as raised:
        async with embedded_stack(run_configuration(tmp_path, offered)):
            pass
    assert words in str(raised.value)
    assert KEY not in str(raised.value)
    assert len(str(raised.value).splitlines()) == 1


async def test_what_litellm_knows_of_a_model(tmp_path: Path) -> None:
    offered = {
        "claude": {"model": "anthropic/claude-sonnet-4-5", "api_key": KEY},
        "small": {"model": "openai/text-embedding-3-small", "api_key": KEY},
    }
    async with embedded_stack(run_configuration(tmp_path, offered)) as stack:
        listed = {model.name: model for model in await stack.models()}
    assert listed["claude"].metadata["context_length"] >= 200_000
    assert listed["small"].model_type == "embedding"
    assert listed["small"].metadata["embedding_dimension"] == 1536


async def test_another_stack_answers_after_one_has_been_closed(tmp_path: Path) -> None:
    async with (
        ScriptedModel(api_key=KEY) as server,
        embedded_stack(run_configuration(tmp_path / "one", models(server))) as one,
    ):
        async with embedded_stack(run_configuration(tmp_path / "two", models(server))) as two:
            await answer(two, question(stream=False))
        assert await answer(one, question(stream=True))


async def test_reasoning_is_kept_apart() -> None:
    async with ScriptedModel(default=Reply("Two.", reasoning="Hm, nodes."), api_key=KEY) as server:
        provider = await get_provider_impl(LitellmConfig.model_validate({"models": models(server)}), {})
        messages: list[Any] = [{"role": "user", "content": "How many?"}]
        params = OpenAIChatCompletionRequestWithExtraBody(model="chat", messages=messages, stream=True)
        chunks: Any = await provider.openai_chat_completion(params)
        deltas = [chunk.choices[0].delta async for chunk in chunks]
        whole: Any = await provider.openai_chat_completion(params.model_copy(update={"stream": False}))
        await provider.shutdown()
    assert "".join(delta.reasoning_content or "" for delta in deltas) == "Hm, nodes."
    assert "".join(delta.content or "" for delta in deltas) == whole.choices[0].message.content == "Two."


ALONE = """
import os, socket, sys
from lightspeed.stack.providers.litellm.library import load_litellm
tried = []
socket.socket.connect = lambda self, address: tried.append(address) or 1 / 0
socket.getaddrinfo = lambda *address, **_: tried.append(address) or 1 / 0
load_litellm()
assert "FROM_DOT_ENV" not in os.environ
assert not tried, tried
"""


def test_importing_it_says_nothing_and_asks_nobody(tmp_path: Path) -> None:
    (tmp_path / ".env").write_text("FROM_DOT_ENV=1\n")
    root = Path(__file__).parents[3]
    done = subprocess.run(
        [sys.executable, "-c", ALONE],
        cwd=tmp_path,
        env={name: value for name, value in os.environ.items() if not name.startswith("LITELLM_")}
        | {"PYTHONPATH": str(root)},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
