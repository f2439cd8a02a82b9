"""One call of a chat model by OpenAI's protocol, read the cheap way."""

import json
from collections.abc import Mapping
from typing import Any

import httpx
from openai import AsyncOpenAI
from openai._base_client import make_request_options
from openai.types.chat import ChatCompletion

from lightspeed.stack.openai_answer import chat_completion
from lightspeed.stack.openai_stream import TextChunkStream


async def create_completion(
    client: AsyncOpenAI,
    *,
    stream: bool = False,
    extra_body: dict[str, Any] | None = None,
    extra_headers: Mapping[str, str] | None = None,
    **parameters: Any,
) -> Any:
    """`chat.completions.create` without its walk through the types of all parameters, which others have checked.

    A TextChunkStream if `stream`, else a chat completion. Raises what the SDK raises, ValueError for an answer that is
    no chat completion.
    """
    options = make_request_options(
        extra_headers=extra_headers, extra_body=extra_body, security={"bearer_auth": True}
    )
    if not stream:
        response = await client.post(
            "/chat/completions", body=parameters, cast_to=httpx.Response, options=options
        )
        return chat_completion(json.loads(response.content))
    return await client.post(
        "/chat/completions",
        body=parameters | {"stream": True},
        cast_to=ChatCompletion,
        options=options,
        stream=True,
        stream_cls=TextChunkStream,
    )
