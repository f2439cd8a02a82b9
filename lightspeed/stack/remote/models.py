"""The models that the server can reach."""

import asyncio
import logging
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from lightspeed.errors import RequestError
from lightspeed.stack.models import Model
from lightspeed.stack.remote.server import StackServer
from lightspeed.stack.shared_call import SharedCall

logger = logging.getLogger(__name__)

_FRESH_FOR = 5.0  # seconds; as long as the stack itself keeps its registry
_OWN_KEYS = frozenset({"model_type", "provider_id", "provider_resource_id"})


class RemoteModels:
    """The server's list, asked for again when it is a few seconds old."""

    def __init__(self, server: StackServer) -> None:
        self._server = server
        self._read = SharedCall(self._ask)
        self._models: list[Model] = []
        self._read_at = float("-inf")
        self._heard: list[Callable[[Sequence[Model]], None]] = []
        self._refresh: asyncio.Task[None] | None = None

    @property
    def providers(self) -> frozenset[str]:
        """The ids of the providers whose models stood in the list last."""
        return frozenset(model.provider_id for model in self._models)

    async def all(self) -> list[Model]:
        """Raises ProviderUnavailable."""
        await self._server.presence.require()
        if time.monotonic() - self._read_at > _FRESH_FOR:
            await self._read()
        return self._models

    def when_they_change(self, hear: Callable[[Sequence[Model]], None]) -> None:
        """Call `hear` with all models whenever others are there than before."""
        self._heard.append(hear)

    def refresh(self) -> None:
        """Read the list again, in the background."""
        self._read_at = float("-inf")
        self._refresh = asyncio.create_task(self._read_quietly())

    def close(self) -> None:
        self._read.close()
        if self._refresh is not None:
            self._refresh.cancel()

    async def _read_quietly(self) -> None:
        try:
            await self._read()
        except RequestError as error:
            logger.warning("The Llama Stack server does not list its models: %s", error)

    async def _ask(self) -> None:
        body = await self._server.get("/models")
        before, self._models = self._models, [_model(entry) for entry in body["data"]]
        self._read_at = time.monotonic()
        if self._models != before:
            for hear in self._heard:
                hear(self._models)


def _model(entry: Mapping[str, Any]) -> Model:
    metadata = entry.get("custom_metadata") or {}
    identifier = str(entry["id"])
    return Model(
        identifier,
        str(metadata.get("provider_id") or identifier.partition("/")[0]),
        str(metadata.get("provider_resource_id") or ""),
        str(metadata.get("model_type") or "llm"),
        {key: value for key, value in metadata.items() if key not in _OWN_KEYS},
    )
