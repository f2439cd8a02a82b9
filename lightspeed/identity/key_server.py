"""The server of the keys that tokens are signed with."""

import asyncio
import logging
import ssl
import time
from collections.abc import Callable
from importlib import import_module
from typing import TYPE_CHECKING

import httpx
from anyio import to_thread

from lightspeed import __version__
from lightspeed.configuration.authentication import JwkConfiguration
from lightspeed.errors import RequestError, Unavailable
from lightspeed.identity.bearer import unproved

if TYPE_CHECKING:
    from lightspeed.identity.key_set import KeySet

logger = logging.getLogger(__name__)

_PAUSE = 5.0  # seconds between two requests that callers with unknown keys, or a server that is away, cause
_FIRST_PAUSE = 1.0  # the same while there are no keys at all
_LONGEST_ANSWER = 1024 * 1024  # bytes


class KeyServer:
    """The keys of a key server, fetched when they are first asked for.

    They are used for `keys_cache_seconds`, and `keys_stale_seconds` longer while the server is away. Requests share
    a fetch, and only the first ones of an outage wait for the server. All times are in seconds.
    """

    def __init__(self, settings: JwkConfiguration, clock: Callable[[], float] = time.monotonic) -> None:
        self._settings = settings
        self._clock = clock
        self._client: httpx.AsyncClient | None = None
        self._fetch: asyncio.Task[None] | None = None
        self._keys: KeySet | None = None
        self._fetched = self._tried = -float("inf")
        self._failure: Callable[[], RequestError] | None = None  # of the last fetch
        # Whoever logs the address never logs a password.
        self._host = settings.url.host

    async def keys(self) -> "KeySet":
        """The keys to try first.

        Raises Unavailable if there are none because the server cannot be reached, and Unauthorized if that is
        because it answers with something else than keys.
        """
        if self._age < self._settings.keys_cache_seconds and self._keys is not None:
            return self._keys
        usable = self._usable
        pause = _PAUSE if usable else _FIRST_PAUSE
        if self._failure is None or (usable is None and (self._rested(pause) or self._fetching)):
            await self._fetched_anew()
        elif self._rested(pause):
            self._start()  # In the background: nobody waits for a server that did not answer last time.
        return self._present()

    async def keys_after(self, known: "KeySet") -> "KeySet":
        """The keys for a token that no key of `known` fits; those again if the server was asked just now.

        Raises Unavailable if the server cannot be reached: nobody can tell then whether the token is good.
        """
        if self._keys is known:
            if self._fetching or self._rested(_PAUSE):
                await self._fetched_anew()
            if self._failure is not None:
                raise self._failure()
        return self._present()

    async def close(self) -> None:
        if self._fetch is not None:
            self._fetch.cancel()
            await asyncio.wait((self._fetch,))
        if self._client is not None:
            await self._client.aclose()

    @property
    def _age(self) -> float:
        return self._clock() - self._fetched

    @property
    def _usable(self) -> "KeySet | None":
        longest = self._settings.keys_cache_seconds + self._settings.keys_stale_seconds
        return self._keys if self._age < longest else None

    @property
    def _fetching(self) -> bool:
        return self._fetch is not None and not self._fetch.done()

    def _rested(self, pause: float) -> bool:
        return self._clock() - self._tried >= pause

    def _present(self) -> "KeySet":
        keys = self._usable
        if keys is None:
            raise self._failure() if self._failure else _unreachable()
        return keys

    def _start(self) -> asyncio.Task[None]:
        if self._fetch is None or self._fetch.done():
            self._fetch = asyncio.create_task(self._refresh(), name="keys of tokens")
        return self._fetch

    async def _fetched_anew(self) -> None:
        # Unlike an `await` of the task, this ends neither the fetch nor the others when one caller goes away.
        await asyncio.wait((self._start(),))

    async def _refresh(self) -> None:
        try:
            self._keys = await self._read()
        except Exception as error:
            self._note_failure(error)
        else:
            if self._failure is not None:
                logger.info("The authentication key server %s answers again", self._host)
            self._fetched, self._failure = self._clock(), None
        finally:
            self._tried = self._clock()

    def _note_failure(self, error: Exception) -> None:
        first = self._failure is None
        self._failure = _unreachable
        if isinstance(error, _BadAnswerError):
            self._failure = error.answer
        elif not isinstance(error, httpx.HTTPError | OSError | TimeoutError):
            logger.error("The keys of tokens cannot be fetched", exc_info=error)
        told = str(error) or type(error).__name__
        level = logging.WARNING if first else logging.DEBUG
        if self._usable is None:
            logger.log(level, "The authentication key server %s gave no keys: %s", self._host, told)
        else:
            logger.log(
                level,
                "The authentication key server %s gave no keys: %s; those of %d s ago are used on",
                self._host,
                told,
                self._age,
            )

    async def _read(self) -> "KeySet":
        if self._client is None:
            # In a thread: it reads all root certificates.
            self._client = await to_thread.run_sync(self._make_client)
        async with asyncio.timeout(self._settings.timeout_seconds):
            text = await self._answer(self._client)
        # The library is slow to load, and there may be many keys.
        key_set = await to_thread.run_sync(import_module, "lightspeed.identity.key_set")
        try:
            keys: KeySet = await to_thread.run_sync(key_set.KeySet.read, text)
        except ValueError as error:
            raise _BadAnswerError("its answer is not JSON", _not_json) from error
        except key_set.KeySetError as error:
            raise _BadAnswerError(str(error), _malformed) from error
        return keys

    async def _answer(self, client: httpx.AsyncClient) -> bytes:
        async with client.stream("GET", str(self._settings.url)) as response:
            if not response.is_success:
                raise _BadAnswerError(f"it answered with status {response.status_code}", _unreachable)
            kind = response.headers.get("content-type", "").partition(";")[0].strip().lower()
            if kind != "application/json" and not (
                kind.startswith("application/") and kind.endswith("+json")
            ):
                raise _BadAnswerError("its answer is not declared as JSON", _unreachable)
            text = bytearray()
            async for part in response.aiter_bytes():
                text += part
                if len(text) > _LONGEST_ANSWER:
                    raise _BadAnswerError(f"its answer is longer than {_LONGEST_ANSWER} bytes", _not_json)
            return bytes(text)

    def _make_client(self) -> httpx.AsyncClient:
        return httpx.AsyncClient(
            verify=ssl.create_default_context(cafile=self._settings.ca_cert_path)
            if self._settings.ca_cert_path
            else True,
            timeout=self._settings.timeout_seconds,
            follow_redirects=False,
            # An hour later no connection would be open any more.
            limits=httpx.Limits(max_keepalive_connections=0),
            headers={"Accept": "application/json", "User-Agent": f"lightspeed/{__version__}"},
        )


class _BadAnswerError(Exception):
    """What is wrong with the server's answer, for the log, and what callers are told."""

    def __init__(self, told: str, answer: Callable[[], RequestError]) -> None:
        self.answer = answer
        super().__init__(told)


def _unreachable() -> RequestError:
    headers = {"Retry-After": str(round(_PAUSE))}
    return Unavailable("Unable to reach authentication key server", headers=headers)


def _not_json() -> RequestError:
    return unproved("Authentication key server returned invalid data")


def _malformed() -> RequestError:
    return unproved("Authentication keys are malformed")
