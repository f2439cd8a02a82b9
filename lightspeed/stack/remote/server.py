"""The connection to the server: requests and answers in JSON, failures as errors of this service."""

from collections.abc import AsyncIterator, Mapping
from typing import Any, Self

import httpx
from anyio import to_thread
from openai import AsyncOpenAI
from pydantic_core import from_json, to_json

from lightspeed.errors import ProviderUnavailable, RequestError
from lightspeed.stack.azure_tokens import AzureTokens
from lightspeed.stack.remote.azure import RemoteAzure
from lightspeed.stack.remote.failures import Unusable, refusal, transport_failure
from lightspeed.stack.remote.presence import Presence
from lightspeed.stack.remote.settings import ServerSettings
from lightspeed.stack.remote.transport import NO_KEY, ProviderData, ServerTransport
from lightspeed.stack.remote.versions import unsupported

_CONNECTS_WITHIN = 5.0  # seconds
_TELLS_ITS_VERSION_WITHIN = 10.0  # seconds
# The server's web server closes a connection that nobody used for 5 s.
_KEPT_FOR = 4.0  # seconds
_MOST_KEPT = 100  # connections
_LARGE = 65_536  # bytes; a larger answer is read in a thread


class StackServer:
    """All requests raise ProviderUnavailable while the server is away. `openai` is for what OpenAI's protocol has.

    Whoever calls a model adds its `credentials`.
    """

    def __init__(
        self,
        settings: ServerSettings,
        inner: httpx.AsyncBaseTransport,
        provider_data: ProviderData | None = None,
        azure_tokens: AzureTokens | None = None,
    ) -> None:
        self._provider_data = provider_data
        self.presence = Presence(self._ask_version, settings.shown_address)
        self._azure = RemoteAzure(self, azure_tokens) if azure_tokens is not None else None
        timeout = httpx.Timeout(settings.timeout, connect=min(settings.timeout, _CONNECTS_WITHIN))
        base_url = f"{settings.address}/v1"
        self._client = httpx.AsyncClient(
            base_url=base_url,
            timeout=timeout,
            transport=ServerTransport(
                inner,
                api_key=settings.api_key,
                failed=self.presence.doubt,
                provider_data=self._all_provider_data,
            ),
        )
        self.openai = AsyncOpenAI(
            base_url=base_url, api_key=NO_KEY, timeout=timeout, max_retries=0, http_client=self._client
        )

    @classmethod
    async def open(
        cls,
        settings: ServerSettings,
        provider_data: ProviderData | None = None,
        azure_tokens: AzureTokens | None = None,
    ) -> Self:
        """Nothing is sent yet. The tokens are closed with the server."""
        # In a thread, because it reads certificates.
        return cls(settings, await to_thread.run_sync(_transport), provider_data, azure_tokens)

    async def close(self) -> None:
        await self.presence.close()
        if self._azure is not None:
            await self._azure.close()
        await self._client.aclose()

    async def credentials(self, model: str) -> dict[str, str]:
        """Headers for a call of the model. Raises ProviderUnavailable when they cannot be had."""
        return await self._azure.headers(model) if self._azure is not None else {}

    def _all_provider_data(self) -> Mapping[str, Any]:
        given = self._provider_data() if self._provider_data is not None else None
        azure = self._azure.provider_data() if self._azure is not None else {}
        return {**azure, **(given or {})}

    async def get(
        self, path: str, *, resource: str = "", identifier: str = "", **parameters: str | int | None
    ) -> Any:
        """Parameters that are None are left out. Raises the RequestError that `failures.refusal` gives."""
        given = {key: value for key, value in parameters.items() if value is not None}
        return await self._send("GET", path, resource, identifier, params=given)

    async def post(
        self,
        path: str,
        body: Mapping[str, Any],
        *,
        resource: str = "",
        identifier: str = "",
        credentials: Mapping[str, str] | None = None,
    ) -> Any:
        content = await to_thread.run_sync(to_json, body)
        headers = {"Content-Type": "application/json", **(credentials or {})}
        return await self._send("POST", path, resource, identifier, content=content, headers=headers)

    async def upload(
        self, path: str, content: AsyncIterator[bytes], headers: Mapping[str, str], *, identifier: str
    ) -> Any:
        return await self._send("POST", path, "File", identifier, content=content, headers=dict(headers))

    async def delete(self, path: str, *, resource: str, identifier: str) -> Any:
        return await self._send("DELETE", path, resource, identifier)

    async def _send(self, method: str, path: str, resource: str, identifier: str, **options: Any) -> Any:
        await self.presence.require()
        return await self._exchange(method, path, resource, identifier, **options)

    async def _exchange(self, method: str, path: str, resource: str, identifier: str, **options: Any) -> Any:
        try:
            response = await self._client.request(method, path, **options)
        except httpx.HTTPError as error:
            raise transport_failure(error) from error
        body = await _decoded(response)
        if response.is_success:
            return body
        raise refusal(response, body, resource, identifier)

    async def _ask_version(self) -> str:
        try:
            body = await self._exchange("GET", "/version", "", "", timeout=_TELLS_ITS_VERSION_WITHIN)
        except ProviderUnavailable:
            raise
        except RequestError as error:
            raise Unusable("The Llama Stack server does not tell its version.") from error
        version = body.get("version") if isinstance(body, dict) else None
        told = version if isinstance(version, str) else ""
        problem = unsupported(told)
        if problem is not None:
            raise Unusable(f"The Llama Stack server cannot be used: {problem}.")
        return told


async def _decoded(response: httpx.Response) -> Any:
    content = response.content
    if not content:
        return None
    try:
        if len(content) > _LARGE:
            return await to_thread.run_sync(from_json, content)
        return from_json(content)
    except ValueError:
        if response.is_success:
            raise Unusable("What answers at the configured address is no Llama Stack.") from None
        return None


def _transport() -> httpx.AsyncHTTPTransport:
    limits = httpx.Limits(
        max_connections=None, max_keepalive_connections=_MOST_KEPT, keepalive_expiry=_KEPT_FOR
    )
    return httpx.AsyncHTTPTransport(limits=limits)
