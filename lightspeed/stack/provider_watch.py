"""Asks all providers again and again how they are, and takes in those that were missing at the start."""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Iterator, Mapping
from typing import Any

from llama_stack_api import Api

from lightspeed.stack.absent import MissingProvider
from lightspeed.stack.model_listing import learn
from lightspeed.stack.provider_address import is_there
from lightspeed.stack.provider_health import Finding, ProviderHealth, Status, examine, reason
from lightspeed.stack.provider_list import ProviderList
from lightspeed.stack.resilient import ResilientStack

logger = logging.getLogger(__name__)

WHEN_WELL = 30.0  # seconds between two rounds
SOONEST, LATEST = 2.0, 10.0  # seconds between two rounds while something is down
ON_DEMAND = 1.0  # seconds between two rounds at least
_STARTS_WITHIN = 120.0  # seconds
_LOCAL_TRIES_AGAIN_AFTER = 30.0  # seconds; a provider in this process may load gigabytes before it fails

type ProviderKey = tuple[str, str]  # API and id


class ProviderWatch:
    """One round at a time. What it finds is kept in memory, so that it can be told at once."""

    def __init__(
        self,
        stack: ResilientStack,
        providers: ProviderList,
        *,
        joined: Callable[[Any], None],
        changed: Callable[[], Awaitable[None]],
    ) -> None:
        """`joined` hears of each provider that is taken in later, `changed` when other models are there than before."""
        self._stack = stack
        self._providers = providers
        self._joined = joined
        self._changed = changed
        self._health: dict[ProviderKey, ProviderHealth] = {}
        self._round: asyncio.Task[None] | None = None
        self._ended_at = float("-inf")
        self._wake = asyncio.Event()
        self._watching: asyncio.Task[None] | None = None

    @property
    def health(self) -> list[ProviderHealth]:
        """What was found last, in the order of the run configuration."""
        return [
            found
            for entry in self._providers
            if (found := self._health.get((entry.api, entry.provider_id))) is not None
        ]

    def of(self, api: str, provider_id: str) -> ProviderHealth:
        unknown = ProviderHealth(api, provider_id, Status.NOT_IMPLEMENTED, "It has not been asked yet.")
        return self._health.get((api, provider_id), unknown)

    @property
    def down(self) -> list[ProviderHealth]:
        return [found for found in self.health if found.is_down]

    def waiting(self) -> list[tuple[str, str]]:
        """What could not be registered yet, as (name, reason)."""
        return [(one.name, self._providers.harmless(reason(one.error))) for one in self._stack.waiting]

    def begin(self) -> None:
        self._watching = asyncio.create_task(self._watch(), name="provider watch")

    async def close(self) -> None:
        tasks = [task for task in (self._watching, self._round) if task is not None]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def soon(self) -> None:
        """Something seems to have changed: do not wait with the next round."""
        self._wake.set()

    async def check(self) -> None:
        """Wait for a round that is not older than ON_DEMAND seconds."""
        if self._round is None and time.monotonic() - self._ended_at < ON_DEMAND:
            return
        await self._one_round()

    async def _one_round(self) -> None:
        if self._round is None:
            self._round = asyncio.create_task(self._ask_all(), name="provider check")
        await asyncio.shield(self._round)

    async def _watch(self) -> None:
        pause = SOONEST
        while True:
            await self._rest(pause if self.down or self._stack.waiting else WHEN_WELL)
            if self._round is not None:
                # It may have asked before that happened which has woken us.
                await asyncio.shield(self._round)
            self._wake.clear()
            await self._one_round()
            pause = min(2 * pause, LATEST) if self.down or self._stack.waiting else SOONEST

    async def _rest(self, seconds: float) -> None:
        try:
            async with asyncio.timeout(seconds):
                await self._wake.wait()
        except TimeoutError:
            return
        await asyncio.sleep(max(0.0, self._ended_at + ON_DEMAND - time.monotonic()))

    async def _ask_all(self) -> None:
        try:
            joined = await asyncio.gather(*(self._try_again(missing) for missing in [*self._stack.missing]))
            changed = await asyncio.gather(
                *(self._ask(api, provider_id, impl) for api, provider_id, impl in self._running())
            )
            registered = bool(self._stack.waiting) and await self._stack.register_waiting()
            if any(joined) or any(changed) or registered:
                await self._changed()
        except Exception:
            logger.exception("The providers could not be asked")
        finally:
            self._ended_at = time.monotonic()
            self._round = None

    def _running(self) -> Iterator[tuple[Api, str, Any]]:
        missing = {(one.api.value, one.id) for one in self._stack.missing}
        for entry in self._providers:
            if (entry.api, entry.provider_id) not in missing:
                api = Api(entry.api)
                yield api, entry.provider_id, self._stack.running(api).get(entry.provider_id)

    async def _ask(self, api: Api, provider_id: str, impl: Any) -> bool:
        """Whether it offers other models than before."""
        if impl is None:
            self._note(api, provider_id, Finding(Status.NOT_IMPLEMENTED, "run.yaml does not serve this API."))
            return False
        found = await examine(impl, lists_models=api is Api.inference)
        if found.status is Status.NOT_IMPLEMENTED:
            found = await _reached(impl, self._providers.settings(api.value, provider_id), found)
        changed = False
        try:
            if found.models:
                changed = await learn(self._stack.impls[Api.models], provider_id, found.models)
        except Exception as error:
            text = self._providers.harmless(str(error))
            logger.warning("The models of provider %s cannot be registered: %s", provider_id, text)
        self._note(api, provider_id, found)
        return changed

    async def _try_again(self, missing: MissingProvider) -> bool:
        """Whether a missing provider is there now."""
        now = time.monotonic()
        pause = ON_DEMAND if missing.is_remote else _LOCAL_TRIES_AGAIN_AFTER
        if missing.can_join and now - missing.tried_at >= pause:
            missing.tried_at = now
            try:
                if missing.is_remote and not await is_there(missing.provider.config):
                    raise missing.error
                async with asyncio.timeout(_STARTS_WITHIN):
                    provider = await self._stack.take_in(missing)
            except Exception as error:
                missing.error = error
            else:
                self._joined(provider)
                return True
        cure = "" if missing.can_join else " It is used only after a restart of the service."
        message = f"It could not be started: {reason(missing.error).removesuffix('.')}.{cure}"
        self._note(missing.api, missing.id, Finding(Status.ERROR, message))
        return False

    def _note(self, api: Api, provider_id: str, found: Finding) -> None:
        key = (api.value, provider_id)
        message = None if found.message is None else self._providers.harmless(found.message)
        health = ProviderHealth(*key, found.status, message)
        before = self._health.get(key)
        self._health[key] = health
        if health.is_down and (before is None or not before.is_down):
            logger.warning("Provider %s of %s is down: %s", provider_id, api.value, health.message)
        elif before is not None and before.is_down and not health.is_down:
            logger.info("Provider %s of %s is back", provider_id, api.value)


async def _reached(provider: Any, settings: Mapping[str, Any], otherwise: Finding) -> Finding:
    """Of a remote provider that cannot be asked, at least whether anyone is there."""
    specification = getattr(provider, "__provider_spec__", None)
    remote = str(getattr(specification, "provider_type", "")).startswith("remote::")
    if remote and not await is_there(settings):
        return Finding(Status.ERROR, "It cannot be reached.")
    return otherwise
