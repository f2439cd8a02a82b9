"""Reading OpenAI's stream: whatever the SDK understands, we understand alike."""

import json
from collections.abc import AsyncIterator, Sequence
from typing import Any

import httpx
import pytest
from openai import APIError, AsyncOpenAI, AsyncStream
from openai.types.chat import ChatCompletionChunk

from lightspeed.stack.openai_stream import TextChunk, TextChunkStream

pytestmark = pytest.mark.anyio


def chunk(delta: dict[str, Any] | None = None, **fields: Any) -> dict[str, Any]:
    choice = {"index": 0, "delta": delta or {}, "finish_reason": fields.pop("finish_reason", None)}
    return {
        "id": "c1",
        "object": "chat.completion.chunk",
        "created": 7,
        "model": "m1",
        "choices": [choice],
        **fields,
    }


TEXT = chunk({"content": "Zwei Knötchen 🌍", "role": "assistant"})
TOOL = chunk(
    {
        "tool_calls": [
            {"index": 0, "id": "t1", "type": "function", "function": {"name": "f", "arguments": "{"}}
        ]
    }
)
MORE = chunk({"tool_calls": [{"index": 0, "function": {"arguments": '"a": 1}'}}, {"index": 1, "id": "t2"}]})
ODD = chunk(
    {"tool_calls": [{"index": 0, "id": "t3", "type": "custom", "custom": {"name": "f", "input": "x"}}]}
)
LAST = chunk(finish_reason="stop")
USAGE = chunk(usage={"prompt_tokens": 3, "completion_tokens": 2, "total_tokens": 5}) | {"choices": []}
THOUGHT = chunk({"content": None, "reasoning_content": "hm"})


def events(*chunks: Any) -> bytes:
    return b"".join(b"data: " + json.dumps(item).encode() + b"\n\n" for item in chunks) + b"data: [DONE]\n\n"


async def read(kind: type[AsyncStream[Any]], blocks: Sequence[bytes]) -> list[Any]:
    async def body() -> AsyncIterator[bytes]:
        for block in blocks:
            yield block

    async with AsyncOpenAI(api_key="any") as client:
        response = httpx.Response(200, content=body(), request=httpx.Request("POST", "http://model/"))
        stream = kind(cast_to=ChatCompletionChunk, response=response, client=client)
        return [item async for item in stream]


def seen(item: Any) -> Any:
    """What the rest of the service reads of a chunk."""
    choices = [
        (
            choice.index,
            choice.delta.content,
            choice.finish_reason,
            [
                (
                    call.index,
                    call.id,
                    call.type,
                    call.function and (call.function.name, call.function.arguments),
                )
                for call in choice.delta.tool_calls or ()
            ],
        )
        for choice in item.choices
    ]
    usage = item.usage and (item.usage.prompt_tokens, item.usage.completion_tokens)
    return item.id, item.created, item.model, choices, usage


CHUNKS = (TEXT, TOOL, THOUGHT, MORE, ODD, LAST, USAGE)


async def test_chunks_look_like_those_of_the_sdk() -> None:
    data = [events(*CHUNKS)]
    ours, theirs = await read(TextChunkStream, data), await read(AsyncStream, data)
    assert [seen(item) for item in ours] == [seen(item) for item in theirs]
    assert isinstance(ours[0], TextChunk)
    assert isinstance(ours[1], TextChunk)
    assert isinstance(ours[3], TextChunk)
    assert isinstance(ours[4], ChatCompletionChunk)
    assert ours[2].choices[0].delta.reasoning_content == "hm"


@pytest.mark.parametrize("size", [1, 2, 7, 64])
async def test_blocks_may_be_cut_anywhere(size: int) -> None:
    data = events(*CHUNKS)
    blocks = [data[start : start + size] for start in range(0, len(data), size)]
    assert len(await read(TextChunkStream, blocks)) == len(CHUNKS)


async def test_other_line_ends_comments_fields_and_a_missing_end() -> None:
    data = (
        b": ping\r\nevent: x\r\ndata: "
        + json.dumps(TEXT).encode()
        + b"\r\n\r\nid: 1\ndata:"
        + json.dumps(LAST).encode()
    )
    assert [seen(item) for item in await read(TextChunkStream, [data])] == [
        seen(ChatCompletionChunk.model_validate(item)) for item in (TEXT, LAST)
    ]


async def test_data_over_several_lines_is_joined() -> None:
    lines = json.dumps(TEXT, indent=1).encode().split(b"\n")
    data = b"\n".join(b"data: " + line for line in lines) + b"\n\n"
    assert len(await read(TextChunkStream, [data])) == 1


async def test_an_error_in_the_stream_is_raised() -> None:
    with pytest.raises(APIError, match="the engine died"):
        await read(TextChunkStream, [events(TEXT, {"error": {"message": "the engine died", "code": "x"}})])


async def test_data_that_is_not_json_is_raised() -> None:
    with pytest.raises(ValueError, match="Expecting"):
        await read(TextChunkStream, [b"data: {oops\n\n"])
