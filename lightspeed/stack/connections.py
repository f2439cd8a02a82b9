"""Connections to remote model providers, kept open between requests.

The stack's OpenAI-like providers make a new HTTP client, and so a new connection, for each call.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from functools import partial
from typing import Any

from llama_stack.providers.utils.inference.openai_mixin import OpenAIMixin
from openai import AsyncOpenAI, AsyncStream, DefaultAioHttpClient

from lightspeed.stack.openai_calls import create_completion

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
            # The stack closes the client whenever it has listed models.
            client.close = _stay_open  # type: ignore[method-assign]
            if len(self._clients) >= _MAXIMUM_CLIENTS:
                self._clients.pop(next(iter(self._clients)))
            self._clients[key] = client
        return client

    async def close(self) -> None:
        clients, self._clients = self._clients, {}
        for client in clients.values():
            await type(client).close(client)


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
    """aiohttp below httpx halves the cost of a call. Settings of a provider's own for its network stay with httpx.

    So does an address with a user name and password, which aiohttp refuses beside the header with the key.
    """
    own = provider.config.network is not None or "http_client" in provider.get_extra_client_params()
    if own or client.base_url.userinfo:
        return client
    return client.copy(http_client=DefaultAioHttpClient(verify=provider.shared_ssl_context))


async def _stay_open() -> None:
    """In place of a client's `close`."""


@contextmanager
def opened_streams() -> Iterator[list[AsyncStream[Any]]]:
    """The streams that a call inside the block opens. The stack wraps them in generators that do not close them."""
    streams: list[AsyncStream[Any]] = []
    token = _streams.set(streams)
    try:
        yield streams
    finally:
        _streams.reset(token)


async def _create(client: AsyncOpenAI, **parameters: Any) -> Any:
    answer = await create_completion(client, **parameters)
    if isinstance(answer, AsyncStream) and (streams := _streams.get()) is not None:
        streams.append(answer)
    return answer
