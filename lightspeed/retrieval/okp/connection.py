"""The portal's Solr collection over HTTP: one client, kept open."""

from collections.abc import Mapping, Sequence
from typing import Any, Self
from urllib.parse import urlencode

import anyio
import httpx
from anyio import to_thread
from pydantic_core import from_json

from lightspeed.errors import BadRequest, RequestError, Unavailable
from lightspeed.retrieval.okp.settings import PortalSettings

type Form = Sequence[tuple[str, str]]

_RESPONSE = "Unable to search the Offline Knowledge Portal"
_FORM = {"Content-Type": "application/x-www-form-urlencoded; charset=utf-8", "Accept": "application/json"}
_LONGEST_REASON = 300
_LARGEST_ANSWER = 16 << 20  # bytes; a usual one has some 100,000


class SolrCollection:
    """Sends forms to the request handlers of one collection. `close` ends its connections."""

    def __init__(self, client: httpx.AsyncClient, settings: PortalSettings) -> None:
        self._client = client
        self._settings = settings

    @classmethod
    async def open(cls, settings: PortalSettings) -> Self:
        # The client reads certificates from the disk when it is made.
        return cls(await to_thread.run_sync(_client, settings), settings)

    async def close(self) -> None:
        await self._client.aclose()

    async def documents(self, handler: str, form: Form) -> list[Mapping[str, Any]]:
        """The documents that a handler finds, as Solr gives them.

        Raises BadRequest when Solr refuses the query, Unavailable when it cannot be reached, is too slow, or answers
        with something else than documents. Neither tells the portal's credentials.
        """
        status, body = await self._answer(handler, form)
        if status != 200:
            raise self._refusal(handler, status, body)
        try:
            documents = from_json(body)["response"]["docs"]
        except (ValueError, KeyError, TypeError):
            documents = None
        if not isinstance(documents, list) or not all(isinstance(item, dict) for item in documents):
            raise self._unavailable("answered with something that is not a search result of Solr")
        return documents

    async def _answer(self, handler: str, form: Form) -> tuple[int, bytes]:
        """Status and body."""
        timeout = self._settings.timeout
        try:
            with anyio.fail_after(timeout):
                return await self._posted(handler, form)
        except (TimeoutError, httpx.TimeoutException) as error:
            raise self._unavailable(f"did not answer within {timeout:g} seconds") from error
        except httpx.HTTPError as error:
            raise self._unavailable(f"cannot be reached ({type(error).__name__})") from error

    async def _posted(self, handler: str, form: Form) -> tuple[int, bytes]:
        url = f"{self._settings.solr_url}/{self._settings.collection}/{handler}"
        form_body = urlencode([("wt", "json"), *form]).encode()
        try:
            return await self._read(url, form_body)
        except httpx.RemoteProtocolError:
            # A server may close an idle connection at the moment when it is used again.
            return await self._read(url, form_body)

    async def _read(self, url: str, form_body: bytes) -> tuple[int, bytes]:
        body = bytearray()
        async with self._client.stream("POST", url, content=form_body, headers=_FORM) as response:
            async for part in response.aiter_bytes():
                body += part
                if len(body) > _LARGEST_ANSWER:
                    raise self._unavailable(f"answered with more than {_LARGEST_ANSWER >> 20} MiB")
        return response.status_code, bytes(body)

    def _refusal(self, handler: str, status: int, body: bytes) -> RequestError:
        if status == 400:
            return BadRequest(f"The Offline Knowledge Portal refused the query: {_reason(body)}")
        if status in (401, 403):
            return self._unavailable(f"refused the credentials of `okp.rhokp_url` (status {status})")
        if status == 404:
            return self._unavailable(f"has no '{self._settings.collection}/{handler}' (status 404)")
        return self._unavailable(f"answered with status {status}")

    def _unavailable(self, what: str) -> Unavailable:
        return Unavailable(
            f"The Offline Knowledge Portal at {self._settings.base_url} {what}.", response=_RESPONSE
        )


def _client(settings: PortalSettings) -> httpx.AsyncClient:
    return httpx.AsyncClient(
        auth=settings.credentials,
        timeout=httpx.Timeout(settings.timeout, connect=settings.connect_timeout),
        limits=httpx.Limits(max_connections=32, max_keepalive_connections=8, keepalive_expiry=30),
    )


def _reason(body: bytes) -> str:
    """Solr's own words, on one line."""
    try:
        message = from_json(body)["error"]["msg"]
    except (ValueError, KeyError, TypeError):
        return "no reason was given"
    return " ".join(str(message).split())[:_LONGEST_REASON]
