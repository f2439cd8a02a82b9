"""The server that receives the archives."""

import logging
import random
import re
import secrets
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from http import HTTPStatus
from typing import Self

import anyio
import httpx

from lightspeed import __version__
from lightspeed.configuration.data_collector import DataCollector
from lightspeed.storage.collection.archive import Archive
from lightspeed.storage.collection.threads import run_to_end

logger = logging.getLogger(__name__)

PAUSES = (1.0, 2.0, 4.0, 8.0, 16.0)
"""Seconds before each further attempt."""

_LONGEST_PAUSE = 120.0
_CHUNK = 256 * 1024
_WORTH_ANOTHER_ATTEMPT = frozenset({408, 429})
_ABOUT_THE_ARCHIVE = frozenset({400, 413, 415, 422})
_ABOUT_THE_TOKEN = frozenset({401, 403})


@dataclass(frozen=True)
class Answer:
    """Whether an archive has been received. If not, `reason` says why without any secret."""

    confirmed: bool
    reason: str = ""
    others_may_pass: bool = False
    again_in: float | None = None  # seconds; None: another attempt now would be of no use


class Ingress:
    """A connection to the server, open while its `async with` block lasts."""

    def __init__(
        self,
        settings: DataCollector,
        *,
        pauses: Sequence[float] = PAUSES,
        sleep: Callable[[float], Awaitable[None]] = anyio.sleep,
    ) -> None:
        address = httpx.URL(settings.ingress_server_url or "")
        # Whoever logs the address never logs a password.
        self._address = address.copy_with(userinfo=b"")
        self._part_type = f"application/vnd.redhat.{settings.ingress_content_service_name}.periodic+tar"
        self._timeout = settings.connection_timeout
        self._headers = {"User-Agent": f"lightspeed/{__version__}"}
        self._auth: httpx.BasicAuth | None = None
        if token := settings.ingress_server_auth_token:
            self._headers["Authorization"] = f"Bearer {token.get_secret_value()}"
        elif address.userinfo:
            self._auth = httpx.BasicAuth(address.username, address.password)
        self._pauses = pauses
        self._sleep = sleep
        self._client: httpx.AsyncClient | None = None

    async def __aenter__(self) -> Self:
        # In a thread: it reads all root certificates.
        self._client = await run_to_end(self._make_client)
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._client is not None:
            await self._client.aclose()

    async def send(self, name: str, archive: Archive) -> Answer:
        """Send an archive under a name, again with growing pauses while there is hope."""
        for pause in self._pauses:
            answer = await self._attempt(name, archive)
            if answer.again_in is None:
                return answer
            wait = max(answer.again_in, pause * random.uniform(0.75, 1.25))  # noqa: S311 - spreads the load
            logger.info("%s is sent again in %.0f s: %s", name, wait, answer.reason)
            await self._sleep(wait)
        return await self._attempt(name, archive)

    async def _attempt(self, name: str, archive: Archive) -> Answer:
        assert self._client is not None, "send outside of the block"
        boundary = secrets.token_hex(16)
        head = (
            f'--{boundary}\r\nContent-Disposition: form-data; name="file"; filename="{name}"\r\n'
            f"Content-Type: {self._part_type}\r\n\r\n"
        ).encode()
        tail = f"\r\n--{boundary}--\r\n".encode()
        headers = {
            "Content-Type": f"multipart/form-data; boundary={boundary}",
            "Content-Length": str(len(head) + archive.size + len(tail)),
        }
        body = _body(head, archive, tail)
        try:
            async with self._client.stream("POST", self._address, content=body, headers=headers) as response:
                return _judge(response)
        except httpx.TimeoutException:
            reason = f"{self._address.host} did not answer within {self._timeout} s"
        except httpx.TransportError as error:
            reason = f"{self._address.host} cannot be reached: {str(error) or type(error).__name__}"
        return Answer(confirmed=False, reason=reason, again_in=0)

    def _make_client(self) -> httpx.AsyncClient:
        return httpx.AsyncClient(
            auth=self._auth, headers=self._headers, timeout=self._timeout, follow_redirects=False
        )


async def _body(head: bytes, archive: Archive, tail: bytes) -> AsyncIterator[bytes]:
    yield head
    for offset in range(0, archive.size, _CHUNK):
        yield await run_to_end(archive.read, offset, _CHUNK)
    yield tail


def _judge(response: httpx.Response) -> Answer:
    status = response.status_code
    if response.is_success:
        return Answer(confirmed=True)
    known = status in HTTPStatus
    reason = f"{response.url.host} answered {status}{f' {HTTPStatus(status).phrase}' if known else ''}"
    if status >= 500 or status in _WORTH_ANOTHER_ATTEMPT:
        wait = _retry_after(response.headers.get("Retry-After", ""))
        return Answer(confirmed=False, reason=reason, again_in=wait if wait <= _LONGEST_PAUSE else None)
    if response.has_redirect_location:
        reason += ", and redirects are not followed; check `ingress_server_url`"
    elif status in _ABOUT_THE_TOKEN:
        reason += "; check `ingress_server_auth_token`"
    return Answer(confirmed=False, reason=reason, others_may_pass=status in _ABOUT_THE_ARCHIVE)


def _retry_after(value: str) -> float:
    """Seconds; 0 when the header says nothing usable."""
    if re.fullmatch(r"[0-9]{1,9}", value):
        return float(value)
    try:
        moment = parsedate_to_datetime(value)
    except ValueError:
        return 0
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    return max((moment - datetime.now(UTC)).total_seconds(), 0)
