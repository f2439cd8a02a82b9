"""The Splunk HTTP Event Collector, as a server that takes batches of events."""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from http import HTTPStatus

import httpx
from anyio import to_thread

from lightspeed import __version__
from lightspeed.configuration.telemetry import SplunkConfiguration

# Splunk's codes for events that it will never take: no data, malformed, event field missing, event field blank.
_NEVER_TAKEN = frozenset({5, 6, 12, 13})


class Fate(Enum):
    """What becomes of a batch."""

    TAKEN = "taken"
    LATER = "later"
    TOO_LARGE = "too large"
    REFUSED = "refused"


@dataclass(frozen=True, slots=True)
class Reply:
    """`reason` says without any secret why a batch has not been taken."""

    fate: Fate
    reason: str = ""


class SplunkCollector:
    """Sends batches, one request for each. Errors of any kind are told as a Reply."""

    def __init__(self, settings: SplunkConfiguration) -> None:
        assert settings.url is not None
        assert settings.token_path is not None
        # Whoever logs the address never logs a password.
        self._address = httpx.URL(settings.url).copy_with(userinfo=b"")
        self._token_path = settings.token_path
        self._timeout = settings.timeout
        self._verify = settings.verify_ssl
        self._client: httpx.AsyncClient | None = None

    async def send(self, events: Sequence[bytes]) -> Reply:
        """`events` are complete envelopes. The token is read anew each time, so that it can be changed."""
        try:
            token = (await to_thread.run_sync(self._token_path.read_text)).strip()
        except (OSError, ValueError) as error:
            return Reply(Fate.LATER, f"the token cannot be read: {type(error).__name__}")
        if not token or not token.isascii() or not token.isprintable():
            return Reply(Fate.LATER, "the file of the token holds no token")
        if self._client is None:
            # In a thread: it reads all root certificates.
            self._client = await to_thread.run_sync(self._make_client)
        headers = {"Authorization": f"Splunk {token}", "Content-Type": "application/json"}
        try:
            response = await self._client.post(self._address, content=b"\n".join(events), headers=headers)
        except httpx.TimeoutException:
            return Reply(Fate.LATER, f"{self._address.host} did not answer within {self._timeout} s")
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            told = str(error) or type(error).__name__
            return Reply(Fate.LATER, f"{self._address.host} cannot be reached: {told}")
        return _judged(response)

    async def close(self) -> None:
        if self._client is not None:
            await self._client.aclose()

    def _make_client(self) -> httpx.AsyncClient:
        return httpx.AsyncClient(
            verify=self._verify,
            timeout=self._timeout,
            follow_redirects=False,
            headers={"User-Agent": f"lightspeed/{__version__}"},
        )


def _judged(response: httpx.Response) -> Reply:
    status = response.status_code
    if response.is_success:
        return Reply(Fate.TAKEN)
    phrase = f" {HTTPStatus(status).phrase}" if status in HTTPStatus else ""
    code = _code(response)
    reason = f"{response.url.host} answered {status}{phrase}" + (f", code {code}" if code is not None else "")
    if status == HTTPStatus.REQUEST_ENTITY_TOO_LARGE:
        return Reply(Fate.TOO_LARGE, reason)
    if status == HTTPStatus.BAD_REQUEST and code in _NEVER_TAKEN:
        return Reply(Fate.REFUSED, reason)
    # What an operator can mend, such as the token, the index or the address, is waited for too.
    return Reply(Fate.LATER, reason)


def _code(response: httpx.Response) -> int | None:
    try:
        code = response.json()["code"]
    except (ValueError, KeyError, TypeError):
        return None
    return code if isinstance(code, int) else None
