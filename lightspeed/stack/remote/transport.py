"""HTTP to the server: credentials on each request, and no connection that the server is about to close."""

import json
from collections.abc import Callable, Mapping
from contextlib import aclosing
from typing import Any

import httpx

type ProviderData = Callable[[], Mapping[str, Any] | None]

NO_KEY = "none"
"""What OpenAI's client is given as its key; it is never sent."""

PROVIDER_DATA_HEADER = "X-LlamaStack-Provider-Data"

_LONGEST_ERROR = 65_536  # bytes
# The server may still be there after these.
_PATIENCE = (httpx.ReadTimeout, httpx.WriteTimeout, httpx.PoolTimeout)


class ServerTransport(httpx.AsyncBaseTransport):
    """`failed` hears of each request that did not get through. `provider_data` is asked for each request: credentials
    of users for the providers behind the server.
    """

    def __init__(
        self,
        inner: httpx.AsyncBaseTransport,
        *,
        api_key: str | None,
        failed: Callable[[], None],
        provider_data: ProviderData | None = None,
    ) -> None:
        self._inner = inner
        self._api_key = api_key
        self._failed = failed
        self._provider_data = provider_data

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        self._sign(request)
        try:
            response = await self._inner.handle_async_request(request)
        except _PATIENCE:
            raise
        except httpx.TransportError:
            self._failed()
            raise
        return response if response.status_code < 400 else await _detached(response)

    async def aclose(self) -> None:
        await self._inner.aclose()

    def _sign(self, request: httpx.Request) -> None:
        if self._api_key is not None:
            request.headers["Authorization"] = f"Bearer {self._api_key}"
        elif request.headers.get("Authorization") == f"Bearer {NO_KEY}":
            del request.headers["Authorization"]
        data = self._provider_data() if self._provider_data is not None else None
        if data:
            # What a request brings itself is meant for it.
            given = json.loads(request.headers.get(PROVIDER_DATA_HEADER, "{}"))
            request.headers[PROVIDER_DATA_HEADER] = json.dumps({**data, **given})


async def _detached(response: httpx.Response) -> httpx.Response:
    """The same answer, read, and its connection closed.

    The server closes a connection after most errors without saying so; the next request would go into the void.
    """
    content = bytearray()
    length = int(response.headers.get("content-length", _LONGEST_ERROR))
    stream = response.stream
    assert isinstance(stream, httpx.AsyncByteStream)
    if length:
        # The end of the message stays unread: a connection in that state is not used again.
        async with aclosing(aiter(stream)) as blocks:  # type: ignore[type-var]
            async for block in blocks:
                content += block
                if len(content) >= min(length, _LONGEST_ERROR):
                    break
    await stream.aclose()
    headers = {key: value for key, value in response.headers.items() if key != "transfer-encoding"}
    return httpx.Response(
        response.status_code,
        headers=headers | {"content-length": str(len(content))},
        stream=httpx.ByteStream(bytes(content)),
        extensions={"http_version": response.extensions.get("http_version", b"HTTP/1.1")},
    )
