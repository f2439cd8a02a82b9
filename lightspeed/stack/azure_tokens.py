"""The token for Azure models, kept fresh."""

import asyncio
import logging
import time
from collections.abc import Callable
from contextvars import Context
from dataclasses import dataclass, field
from typing import Protocol

from lightspeed.configuration.azure import AzureEntraIdConfiguration
from lightspeed.errors import ProviderUnavailable
from lightspeed.stack.azure_authority import AzureAuthority, Grant
from lightspeed.stack.shared_call import SharedCall

logger = logging.getLogger(__name__)

AHEAD = 300.0  # seconds before the end at which the next token is fetched in the background
MARGIN = 30.0  # seconds before the end at which nobody is given the token any more, if another one can be had
_SOONEST, _LATEST = 5.0, 60.0  # seconds between two attempts in the background
_RARELY = 0.5  # seconds between two fetches in the background, however short the life of a token
_TOLD_FRESHLY = 1.0  # seconds for which a failure is the answer to all who ask


class Authority(Protocol):
    """Who gives tokens."""

    async def grant(self) -> Grant:
        """Raises ProviderUnavailable."""
        ...

    async def close(self) -> None: ...


@dataclass(frozen=True, slots=True)
class _Held:
    """A token, and when it is to be renewed, avoided, and over: in seconds of the clock."""

    token: str = field(repr=False)
    renew_at: float
    avoid_at: float
    over_at: float


class AzureTokens:
    """One fetch at a time, for all who want a token. Used in one event loop, until `close`.

    Once there is a token, the next one is fetched in the background, minutes before the end. A token that cannot be
    renewed is used for as long as it is valid.
    """

    def __init__(self, authority: Authority, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._authority = authority
        self._clock = clock
        self._fetch = SharedCall(self._renew)
        self._held: _Held | None = None
        self._failure: ProviderUnavailable | None = None
        self._failed_at = float("-inf")
        self._freshness: asyncio.Task[None] | None = None

    @classmethod
    def configured(cls, configuration: AzureEntraIdConfiguration) -> "AzureTokens":
        return cls(AzureAuthority(configuration))

    @property
    def at_hand(self) -> str | None:
        """The token that is there and valid; nothing is fetched."""
        held = self._held
        return held.token if held is not None and self._clock() < held.over_at else None

    async def token(self) -> str:
        """A valid token, fetched if need be. Raises ProviderUnavailable."""
        held = self._held
        if held is not None and self._clock() < held.avoid_at:
            return held.token
        try:
            return await self._renewed()
        except ProviderUnavailable:
            if (token := self.at_hand) is not None:
                return token
            raise

    async def close(self) -> None:
        self._fetch.close()
        if self._freshness is not None:
            self._freshness.cancel()
            await asyncio.wait([self._freshness])
        await self._authority.close()

    async def _renewed(self) -> str:
        failure = self._failure
        if failure is not None and self._clock() - self._failed_at < _TOLD_FRESHLY:
            raise ProviderUnavailable(failure.cause, headers=failure.headers)
        return await self._fetch()

    async def _renew(self) -> str:
        try:
            grant = await self._authority.grant()
        except ProviderUnavailable as error:
            self._failure, self._failed_at = error, self._clock()
            logger.warning("%s", error.cause)
            raise
        self._failure = None
        self._held = _held(grant, self._clock())
        if self._freshness is None:
            # It belongs to nobody's request.
            self._freshness = asyncio.create_task(self._keep_fresh(), name="azure token", context=Context())
        return grant.token

    async def _keep_fresh(self) -> None:
        pause = _SOONEST
        while True:
            assert self._held is not None
            await asyncio.sleep(max(self._held.renew_at - self._clock(), _RARELY))
            try:
                # Someone else may have fetched one meanwhile.
                if self._clock() >= self._held.renew_at:
                    await self._fetch()
                pause = _SOONEST
            except ProviderUnavailable:
                await asyncio.sleep(pause)
                pause = min(2 * pause, _LATEST)


def _held(grant: Grant, now: float) -> _Held:
    """Short-lived tokens are renewed after half their life."""
    over_at = now + grant.lifetime
    return _Held(
        grant.token,
        renew_at=over_at - min(AHEAD, grant.lifetime / 2),
        avoid_at=over_at - min(MARGIN, grant.lifetime / 10),
        over_at=over_at,
    )
