"""The scripted model speaks OpenAI's protocol as the official SDK and plain HTTP clients see it."""

import json
import math
from collections.abc import AsyncIterable, AsyncIterator
from functools import partial
from typing import Any

import anyio
import httpx
import openai
import pytest
from openai import AsyncOpenAI

from tests.scripted_model import (
    HEADERS,
    Reply,
    ScriptedModel,
    ToolCall,
    Usage,
    context_length_exceeded,
    insufficient_quota,
    rate_limit_exceeded,
    server_error,
)

pytestmark = pytest.mark.anyio

QUESTION: list[Any] = [{"role": "user", "content": "Which nodes are there?"}]
BODY = {"model": "scripted", "messages": QUESTION}
STREAMED = {**BODY, "stream": True}


@pytest.fixture
async def model() -> AsyncIterator[ScriptedModel]:
    async with ScriptedModel() as running:
        yield running


@pytest.fixture
async def sdk(model: ScriptedModel) -> AsyncIterator[AsyncOpenAI]:
    async with AsyncOpenAI(base_url=model.base_url, api_key="any", max_retries=0) as client:
        yield client


@pytest.fixture
async def http(model: ScriptedModel) -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(base_url=model.base_url) as client:
        yield client


async def chunks_of(http: httpx.AsyncClient, **more: Any) -> list[Any]:
    """The chunks of a streamed answer; the last one is the text `[DONE]` if it was sent."""
    response = await http.post("/chat/completions", json={**STREAMED, **more})
    assert response.headers["content-type"].startswith("text/event-stream")
    events = [line.removeprefix("data: ") for line in response.text.split("\n\n") if line]
    return [event if event == "[DONE]" else json.loads(event) for event in events]


async def streamed(sdk: AsyncOpenAI, **more: Any) -> list[Any]:
    stream = await sdk.chat.completions.create(model="scripted", messages=QUESTION, stream=True, **more)
    return [chunk async for chunk in stream]


async def test_answers_in_order_then_by_default(model: ScriptedModel, sdk: AsyncOpenAI) -> None:
    model.queue(Reply("first"))
    model.queue(Reply("second"), times=2)
    model.default(Reply("again"))
    texts = [
        (await sdk.chat.completions.create(model="scripted", messages=QUESTION)).choices[0].message.content
        for _ in range(5)
    ]
    assert texts == ["first", "second", "second", "again", "again"]


async def test_rules_and_functions_choose_by_the_request(model: ScriptedModel, sdk: AsyncOpenAI) -> None:
    model.queue(Reply("from the queue"))
    model.when(lambda body: body["temperature"] == 1, Reply("by rule"))
    model.default(lambda body: Reply(f"you said: {body['messages'][-1]['content']}"))
    texts = [
        (await sdk.chat.completions.create(model="scripted", messages=QUESTION, temperature=warmth))
        .choices[0]
        .message.content
        for warmth in (1, 0, 0)
    ]
    assert texts == ["by rule", "from the queue", "you said: Which nodes are there?"]


@pytest.mark.parametrize(
    ("reply", "tokens"),
    [
        (Reply("Two  nodes,\nboth ready. "), ["Two", "  nodes,", "\nboth", " ready.", " "]),
        (Reply("abcdefg", tokens=3), ["ab", "cd", "efg"]),
        (Reply(["one ", "", "piece"]), ["one ", "", "piece"]),
        (Reply(tokens=2), ["pods", " run"]),
    ],
)
async def test_text_becomes_exactly_these_tokens(
    model: ScriptedModel, sdk: AsyncOpenAI, reply: Reply, tokens: list[str]
) -> None:
    model.queue(reply, times=2)
    chunks = await streamed(sdk)
    assert chunks[0].choices[0].delta.role == "assistant"
    assert [chunk.choices[0].delta.content for chunk in chunks[1:-1]] == tokens
    assert [chunk.choices[0].finish_reason for chunk in chunks[1:]] == [None] * len(tokens) + ["stop"]
    assert reply.sent == len(tokens)
    whole = await sdk.chat.completions.create(model="scripted", messages=QUESTION)
    assert whole.choices[0].message.content == "".join(tokens)
    assert whole.usage
    assert whole.usage.completion_tokens == len(tokens)
    assert whole.usage.prompt_tokens == 4


def test_impossible_replies_are_refused() -> None:
    with pytest.raises(ValueError, match="cannot be split"):
        Reply("abc", tokens=4)
    with pytest.raises(ValueError, match="outside of a reply of 2 deltas"):
        Reply("two tokens", cut_at=3)
    with pytest.raises(ValueError, match="follows the headers"):
        Reply("two tokens", malformed_at=HEADERS)


async def test_each_answer_has_its_own_id(model: ScriptedModel, http: httpx.AsyncClient) -> None:
    first, second = await chunks_of(http), await chunks_of(http)
    ids = [{chunk["id"] for chunk in answer if chunk != "[DONE]"} for answer in (first, second)]
    assert all(len(one) == 1 for one in ids)
    assert ids[0] != ids[1]


async def test_tool_calls_stream_in_pieces(model: ScriptedModel, sdk: AsyncOpenAI) -> None:
    calls = [ToolCall("list_nodes", {"zone": "a", "limit": 10}), ToolCall("time", "{broken", id="call_x")]
    reply = model.queue(Reply(tool_calls=calls), times=2)
    chunks = await streamed(sdk)
    deltas = [call for chunk in chunks for call in chunk.choices[0].delta.tool_calls or []]
    arguments = ["".join(d.function.arguments for d in deltas if d.index == index) for index in (0, 1)]
    assert json.loads(arguments[0]) == {"zone": "a", "limit": 10}
    assert arguments[1] == "{broken"
    assert len([d for d in deltas if d.index == 0]) > 2
    assert [(d.id, d.function.name) for d in deltas if d.id] == [
        ("call_0_list_nodes", "list_nodes"),
        ("call_x", "time"),
    ]
    assert chunks[-1].choices[0].finish_reason == "tool_calls"
    assert reply.deltas() == len(deltas)
    whole = (await sdk.chat.completions.create(model="scripted", messages=QUESTION)).choices[0]
    assert whole.finish_reason == "tool_calls"
    assert whole.message.content is None
    assert [call.id for call in whole.message.tool_calls or []] == ["call_0_list_nodes", "call_x"]


async def test_usage_comes_in_the_last_chunk_only_if_asked_for(
    model: ScriptedModel, http: httpx.AsyncClient
) -> None:
    model.default(Reply("Two nodes.", usage=Usage(11, 7, reasoning_tokens=3, cached_tokens=2)))
    assert all("usage" not in chunk for chunk in (await chunks_of(http))[:-1])
    *others, last, done = await chunks_of(http, stream_options={"include_usage": True})
    assert all(chunk["usage"] is None for chunk in others)
    assert last["choices"] == []
    assert last["usage"]["total_tokens"] == 18
    assert last["usage"]["completion_tokens_details"] == {"reasoning_tokens": 3}
    assert last["usage"]["prompt_tokens_details"] == {"cached_tokens": 2}
    assert done == "[DONE]"
    assert all("usage" not in chunk for chunk in (await chunks_of(http))[:-1])


async def test_reasoning_precedes_the_text(model: ScriptedModel, http: httpx.AsyncClient) -> None:
    model.queue(Reply("Two.", reasoning="I count them."), times=2)
    chunks = await chunks_of(http, stream_options={"include_usage": True})
    deltas = [chunk["choices"][0]["delta"] for chunk in chunks[1:-3]]
    assert deltas == [{"reasoning_content": text} for text in ("I", " count", " them.")] + [
        {"content": "Two."}
    ]
    assert chunks[-2]["usage"]["completion_tokens"] == 4
    assert chunks[-2]["usage"]["completion_tokens_details"]["reasoning_tokens"] == 3
    whole = (await http.post("/chat/completions", json=BODY)).json()
    assert whole["choices"][0]["message"]["reasoning_content"] == "I count them."


@pytest.mark.parametrize("reason", ["length", "content_filter"])
async def test_other_reasons_to_finish(model: ScriptedModel, sdk: AsyncOpenAI, reason: str) -> None:
    model.queue(Reply("Two", finish_reason=reason))
    assert (await streamed(sdk))[-1].choices[0].finish_reason == reason


async def test_an_answer_without_choices(model: ScriptedModel, http: httpx.AsyncClient) -> None:
    model.queue(Reply(empty_choices=True), times=2)
    first, done = await chunks_of(http)
    assert first["choices"] == []
    assert done == "[DONE]"
    assert (await http.post("/chat/completions", json=BODY)).json()["choices"] == []


@pytest.mark.parametrize("stream", [True, False])
@pytest.mark.parametrize(
    ("error", "raised", "code"),
    [
        (context_length_exceeded(), openai.BadRequestError, "context_length_exceeded"),
        (insufficient_quota(), openai.RateLimitError, "insufficient_quota"),
        (rate_limit_exceeded(retry_after=7), openai.RateLimitError, "rate_limit_exceeded"),
        (server_error(503), openai.InternalServerError, None),
    ],
)
async def test_errors_instead_of_an_answer(
    model: ScriptedModel,
    sdk: AsyncOpenAI,
    error: Any,
    raised: type[openai.APIStatusError],
    code: str,
    stream: bool,
) -> None:
    model.queue(Reply(error=error))
    with pytest.raises(raised) as caught:
        await sdk.chat.completions.create(model="scripted", messages=QUESTION, stream=stream)
    assert caught.value.code == code
    assert caught.value.status_code == error.status
    assert caught.value.response.headers.get("retry-after") == error.headers.get("retry-after")


async def test_the_key_is_checked_where_one_is_set() -> None:
    async with ScriptedModel(api_key="right") as model:
        async with AsyncOpenAI(base_url=model.base_url, api_key="wrong", max_retries=0) as sdk:
            with pytest.raises(openai.AuthenticationError) as caught:
                await sdk.models.list()
        assert caught.value.code == "invalid_api_key"
        async with AsyncOpenAI(base_url=model.base_url, api_key="right", max_retries=0) as sdk:
            assert [card.id async for card in sdk.models.list()] == ["scripted", "scripted-embedding"]


async def test_models_are_listed_and_unknown_ones_refused(model: ScriptedModel, sdk: AsyncOpenAI) -> None:
    assert (await sdk.models.retrieve("scripted")).id == "scripted"
    with pytest.raises(openai.NotFoundError, match="model_not_found"):
        await sdk.models.retrieve("org/absent")
    with pytest.raises(openai.NotFoundError, match="model_not_found"):
        await sdk.chat.completions.create(model="absent", messages=QUESTION)
    with pytest.raises(openai.NotFoundError, match="model_not_found"):
        await sdk.embeddings.create(model="scripted", input="text")


async def test_a_failing_path_fails_until_it_is_mended(model: ScriptedModel, sdk: AsyncOpenAI) -> None:
    model.failures["/v1/models"] = server_error(500)
    with pytest.raises(openai.InternalServerError):
        await sdk.models.list()
    del model.failures["/v1/models"]
    assert (await sdk.models.list()).data


@pytest.mark.parametrize("stream", [True, False])
async def test_a_connection_cut_before_the_headers(
    model: ScriptedModel, http: httpx.AsyncClient, stream: bool
) -> None:
    reply = model.queue(Reply("Two nodes.", cut_at=HEADERS))
    with pytest.raises(httpx.RemoteProtocolError, match="without sending a response"):
        await http.post("/chat/completions", json={**BODY, "stream": stream})
    assert not reply.client_gone.is_set()
    assert not reply.finished.is_set()


async def test_a_connection_cut_after_some_tokens(model: ScriptedModel, http: httpx.AsyncClient) -> None:
    reply = model.queue(Reply("Two nodes are ready.", cut_at=2))
    async with http.stream("POST", "/chat/completions", json=STREAMED) as response:
        lines, error = await _drain(response.aiter_lines())
    assert isinstance(error, httpx.RemoteProtocolError)
    assert "incomplete chunked read" in str(error)
    contents = [json.loads(line[6:])["choices"][0]["delta"].get("content") for line in lines if line]
    assert contents == ["", "Two", " nodes"]
    assert reply.sent == 2


async def test_a_body_cut_in_the_middle(model: ScriptedModel, http: httpx.AsyncClient) -> None:
    model.queue(Reply("Two nodes.", cut_at=1))
    with pytest.raises(httpx.RemoteProtocolError):
        await http.post("/chat/completions", json=BODY)


async def test_a_stream_without_its_end(model: ScriptedModel, http: httpx.AsyncClient) -> None:
    model.queue(Reply("Two nodes.", done=False))
    chunks = await chunks_of(http, stream_options={"include_usage": True})
    assert len(chunks) == 3
    assert chunks[-1]["choices"][0]["finish_reason"] is None


async def test_a_malformed_chunk(model: ScriptedModel, sdk: AsyncOpenAI, http: httpx.AsyncClient) -> None:
    model.queue(Reply("Two nodes.", malformed_at=1), times=2)
    with pytest.raises(json.JSONDecodeError):
        await streamed(sdk)
    with pytest.raises(json.JSONDecodeError):
        (await http.post("/chat/completions", json=BODY)).json()


async def test_an_error_inside_the_stream(model: ScriptedModel, sdk: AsyncOpenAI) -> None:
    model.queue(Reply("Two nodes.", error=server_error(), error_at=1), times=2)
    stream = await sdk.chat.completions.create(model="scripted", messages=QUESTION, stream=True)
    chunks, error = await _drain(stream)
    assert [chunk.choices[0].delta.content for chunk in chunks] == ["", "Two"]
    assert isinstance(error, openai.APIError)
    assert "error while processing" in error.message
    with pytest.raises(openai.InternalServerError):
        await sdk.chat.completions.create(model="scripted", messages=QUESTION)


async def _drain[T](items: AsyncIterable[T]) -> tuple[list[T], Exception | None]:
    """What came before the end, and the error that it ended with."""
    seen = []
    try:
        async for item in items:
            seen.append(item)  # noqa: PERF401 - a comprehension would lose them
    except Exception as error:
        return seen, error
    return seen, None


async def test_a_reply_hangs_at_a_point_until_it_is_released(
    model: ScriptedModel, http: httpx.AsyncClient
) -> None:
    reply = model.queue(Reply("Two nodes are ready.", hang_at=2))
    async with http.stream("POST", "/chat/completions", json=STREAMED) as response:
        lines = response.aiter_lines()
        before = [await anext(lines) for _ in range(5)]
        await reply.reached.wait()
        assert reply.sent == 2
        assert not reply.finished.is_set()
        reply.release()
        after = [line async for line in lines]
    await reply.finished.wait()
    assert sum(line.startswith("data: {") for line in before) == 3
    assert after[-2] == "data: [DONE]"
    assert reply.sent == 4


@pytest.mark.parametrize(
    ("point", "more"), [(HEADERS, {}), (HEADERS, {"stream": True}), (0, {"stream": True}), (1, {})]
)
async def test_a_client_that_leaves_is_noticed(
    model: ScriptedModel, http: httpx.AsyncClient, point: int, more: dict[str, Any]
) -> None:
    reply = model.queue(Reply("Two nodes.", hang_at=point))
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(partial(http.post, "/chat/completions", json={**BODY, **more}))
        await reply.reached.wait()
        assert not reply.client_gone.is_set()
        tasks.cancel_scope.cancel()
    await reply.client_gone.wait()
    assert not reply.finished.is_set()
    assert reply.sent == 0


@pytest.mark.parametrize(
    ("reply", "chunks"),
    [
        (Reply("Two nodes.", delay_headers=3600), 0),
        (Reply("Two nodes.", delay_first=3600), 1),
        (Reply("Two nodes.", delay_between=3600), 2),
    ],
)
async def test_delays_hold_the_reply_at_their_place(
    model: ScriptedModel, http: httpx.AsyncClient, reply: Reply, chunks: int
) -> None:
    model.queue(reply)
    seen: list[str] = []
    enough = anyio.Event()

    async def read() -> None:
        async with http.stream("POST", "/chat/completions", json=STREAMED) as response:
            async for line in response.aiter_lines():
                seen.extend([line] if line else [])
                if len(seen) == chunks:
                    enough.set()

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(read)
        await model.wait_for_request()
        if chunks:
            await enough.wait()
        tasks.cancel_scope.cancel()
    await reply.client_gone.wait()
    assert len(seen) == chunks
    assert reply.sent == max(0, chunks - 1)


async def test_requests_are_recorded(model: ScriptedModel, sdk: AsyncOpenAI) -> None:
    await sdk.models.list()
    await sdk.chat.completions.create(
        model="scripted", messages=QUESTION, extra_headers={"X-Request-Id": "r1"}
    )
    assert [(one.method, one.path) for one in model.requests] == [
        ("GET", "/v1/models"),
        ("POST", "/v1/chat/completions"),
    ]
    request = await model.wait_for_request()
    assert request is model.chats[0]
    assert request.headers["x-request-id"] == "r1"
    assert request.headers["authorization"] == "Bearer any"
    assert request.body == BODY
    assert request.reply is not None
    with pytest.raises(TimeoutError):
        await model.wait_for_request(2, timeout=0.01)


async def test_unreadable_requests_are_refused(model: ScriptedModel, http: httpx.AsyncClient) -> None:
    response = await http.post("/chat/completions", content=b"{")
    assert response.status_code == 400
    assert response.json()["error"]["type"] == "invalid_request_error"
    assert model.requests[0].raw == b"{"


async def test_embeddings_are_unit_vectors_and_near_for_shared_words(
    model: ScriptedModel, sdk: AsyncOpenAI
) -> None:
    texts = ["restart the node", "how to restart a node", "billing invoices", "Node! Restart the", ""]
    answer = await sdk.embeddings.create(model="scripted-embedding", input=texts)
    vectors = [one.embedding for one in answer.data]
    assert [len(vector) for vector in vectors] == [384] * 5
    assert [math.hypot(*vector) for vector in vectors] == pytest.approx([1] * 5, abs=1e-5)
    base, near, far, same = (math.sumprod(vectors[0], vector) for vector in vectors[:4])
    assert base == pytest.approx(1, abs=1e-5)
    assert same == pytest.approx(1, abs=1e-5)
    assert near > 0.4 > 0.2 > far
    assert answer.usage.prompt_tokens == 3 + 5 + 2 + 3


async def test_embeddings_in_other_forms(model: ScriptedModel, sdk: AsyncOpenAI) -> None:
    embed = sdk.embeddings.create
    packed = (await embed(model="scripted-embedding", input="a node", dimensions=16)).data[0].embedding
    plain = await embed(model="scripted-embedding", input=["a node"], dimensions=16, encoding_format="float")
    assert plain.data[0].embedding == pytest.approx(packed, abs=1e-6)
    ids = await embed(model="scripted-embedding", input=[[1, 2], [2, 1]])
    assert ids.data[0].embedding == ids.data[1].embedding
    assert len((await embed(model="scripted-embedding", input=[1, 2])).data) == 1


def test_in_a_synchronous_test_and_away_and_back_on_the_same_port() -> None:
    model = ScriptedModel(Reply("first"), Reply("second"))
    for text in ("first", "second"):
        with model:
            response = httpx.post(f"{model.base_url}/chat/completions", json=BODY)
        assert response.json()["choices"][0]["message"]["content"] == text
        with pytest.raises(httpx.ConnectError):
            httpx.get(f"{model.base_url}/models")
    assert model.wait_for_request_blocking(2).body == BODY


async def test_stopping_cuts_what_still_hangs(http: httpx.AsyncClient) -> None:
    async with ScriptedModel() as model:
        reply = model.queue(Reply("Two", hang_at=0))
        async with http.stream("POST", f"{model.base_url}/chat/completions", json=STREAMED) as response:
            await reply.reached.wait()
            model.stop()
            with pytest.raises(httpx.TransportError):
                await response.aread()
