"""Connections to remote model providers, kept open between requests.

The stack's OpenAI-like providers make a new HTTP client, and so a new connection, for each call.
"""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from functools import partial
from typing import Any

import httpx
from llama_stack.providers.utils.inference.openai_mixin import OpenAIMixin
from openai import AsyncOpenAI, AsyncStream, DefaultAioHttpClient
from openai._base_client import make_request_options
from openai.types.chat import ChatCompletion

from lightspeed.stack.openai_answer import chat_completion
from lightspeed.stack.openai_stream import TextChunkStream

_MAXIMUM_CLIENTS = 32

_streams: ContextVar[list[AsyncStream[Any]] | None] = ContextVar("streams", default=None)


class ConnectionPool:
    """The clients of one provider, one for each base address and key that a request may bring."""

    def __init__(self) -> None:
        self._clients: dict[tuple[str, str], AsyncOpenAI] = {}

    def client(self, provider: Any, make: Any) -> AsyncOpenAI:
        key = (str(provider.get_base_url()), str(provider._get_api_key_from_config_or_provider_data()))
        client = self._clients.get(key)
        if client is None:
            client = _faster(provider, make(provider))
            client.chat.completions.create = partial(_create, client)  # type: ignore[method-assign]
            if len(self._clients) >= _MAXIMUM_CLIENTS:
                self._clients.pop(next(iter(self._clients)))
            self._clients[key] = client
        return client

    async def close(self) -> None:
        clients, self._clients = self._clients, {}
        for client in clients.values():
            await client.close()


def keep_connections(provider: Any) -> ConnectionPool | None:
    """Give an OpenAI-like provider a pool; None for providers of another kind."""
    kind = type(provider)
    if not isinstance(provider, OpenAIMixin) or kind.client is not OpenAIMixin.client:
        return None
    pool = ConnectionPool()
    make = OpenAIMixin.client.fget
    pooled = type(
        kind.__name__,
        (kind,),
        {"client": property(lambda self: pool.client(self, make)), "__module__": kind.__module__},
    )
    object.__setattr__(provider, "__class__", pooled)
    return pool


def _faster(provider: Any, client: AsyncOpenAI) -> AsyncOpenAI:
    """aiohttp below httpx halves the cost of a call. Settings of a provider's own for its network stay with httpx."""
    if provider.config.network is not None or "http_client" in provider.get_extra_client_params():
        return client
    return client.copy(http_client=DefaultAioHttpClient(verify=provider.shared_ssl_context))


@contextmanager
def opened_streams() -> Iterator[list[AsyncStream[Any]]]:
    """The streams that a call inside the block opens. The stack wraps them in generators that do not close them."""
    streams: list[AsyncStream[Any]] = []
    token = _streams.set(streams)
    try:
        yield streams
    finally:
        _streams.reset(token)


async def _create(
    client: AsyncOpenAI, *, stream: bool = False, extra_body: dict[str, Any] | None = None, **parameters: Any
) -> Any:
    """`chat.completions.create` without its walk through the types of all parameters: the stack has checked them."""
    options = make_request_options(extra_body=extra_body, security={"bearer_auth": True})
    if not stream:
        response = await client.post(
            "/chat/completions", body=parameters, cast_to=httpx.Response, options=options
        )
        return chat_completion(json.loads(response.content))
    answer = await client.post(
        "/chat/completions",
        body=parameters | {"stream": True},
        cast_to=ChatCompletion,
        options=options,
        stream=True,
        stream_cls=TextChunkStream,
    )
    if (streams := _streams.get()) is not None:
        streams.append(answer)
    return answer
