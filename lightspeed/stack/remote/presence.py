"""Whether the server can be reached, found out by asking it."""

import asyncio
import logging
import time
from collections.abc import Callable, Coroutine
from typing import Any

from lightspeed.errors import ProviderUnavailable
from lightspeed.stack.remote.failures import TooSlow
from lightspeed.stack.shared_call import SharedCall

logger = logging.getLogger(__name__)

_WHEN_WELL = 10.0  # seconds between two questions
_SOONEST, _LATEST = 0.5, 5.0  # seconds between two questions while it is away
_TOLD_FRESHLY = 1.0  # seconds


class Presence:
    """`ask` returns the server's version, or raises ProviderUnavailable with the reason why it cannot be used."""

    def __init__(self, ask: Callable[[], Coroutine[Any, Any, str]], name: str) -> None:
        """`name` is what logs call the server."""
        self._ask = ask
        self._name = name
        self._check = SharedCall(self._find_out)
        self._version: str | None = None
        self._outage: ProviderUnavailable | None = None
        self._asked_at = float("-inf")
        self._doubted = True
        self._doubts = asyncio.Event()
        self._present = False
        self._watching: asyncio.Task[None] | None = None
        self._returned: list[Callable[[], None]] = []

    @property
    def is_known(self) -> bool:
        """Whether the server has answered lately, as far as is known."""
        return self._outage is None and not self._doubted

    def watch(self) -> None:
        """Go on asking in the background."""
        self._watching = asyncio.create_task(self._watch(), name="llama stack server")

    def on_return(self, hear: Callable[[], None]) -> None:
        """`hear` is called each time when the server is there again."""
        self._returned.append(hear)

    def doubt(self) -> None:
        """A request did not get through: the next one asks first."""
        self._doubted = True
        self._doubts.set()

    async def require(self) -> None:
        """Raises ProviderUnavailable if the server cannot be used. Costs nothing while it is there."""
        if not self.is_known:
            await self._check()
            if self._outage is not None:
                raise type(self._outage)(self._outage.cause)

    async def outage(self) -> str | None:
        """Why the server cannot be used, by an answer that is at most a second old."""
        if self._doubted or time.monotonic() - self._asked_at > _TOLD_FRESHLY:
            await self._check()
        return self._outage.cause if self._outage is not None else None

    async def version(self) -> str:
        """Raises ProviderUnavailable."""
        await self.require()
        assert self._version is not None
        return self._version

    async def close(self) -> None:
        self._check.close()
        if self._watching is not None:
            self._watching.cancel()
            await asyncio.wait([self._watching])

    async def _watch(self) -> None:
        pause = _SOONEST
        while True:
            self._doubts.clear()
            if self.is_known:
                pause = _SOONEST
                try:
                    async with asyncio.timeout(_WHEN_WELL):
                        await self._doubts.wait()
                except TimeoutError:
                    pass
            else:
                await asyncio.sleep(pause)
                pause = min(2 * pause, _LATEST)
            await self._check()

    async def _find_out(self) -> None:
        outage: ProviderUnavailable | None = None
        try:
            self._version = await self._ask()
        except TooSlow as error:
            # It may be busy, which is no reason to keep more questions from it.
            outage = error if self._version is None else self._outage
        except ProviderUnavailable as error:
            outage = error
        except Exception as error:
            logger.exception("The Llama Stack server %s could not be asked for its version", self._name)
            outage = ProviderUnavailable(f"{type(error).__name__} when it was asked for its version")
        self._asked_at = time.monotonic()
        self._doubted = False
        self._change(outage)

    def _change(self, outage: ProviderUnavailable | None) -> None:
        before, self._outage = self._outage, outage
        if outage is not None:
            if before is None or before.cause != outage.cause:
                logger.warning("The Llama Stack server %s cannot be used: %s", self._name, outage.cause)
            self._present = False
            self._doubts.set()
        elif not self._present:
            if before is not None:
                logger.warning("The Llama Stack server %s is there again", self._name)
            self._present = True
            for hear in self._returned:
                hear()
