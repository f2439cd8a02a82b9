"""What the server says of its providers and shields."""

import time
from collections.abc import Sequence
from typing import Any

from lightspeed.configuration.masking import without_secrets
from lightspeed.stack.provider_state import ProviderState
from lightspeed.stack.remote.failures import NotServed
from lightspeed.stack.remote.server import StackServer
from lightspeed.stack.shared_call import SharedCall
from lightspeed.stack.shield import Shield

_FRESH_FOR = 10.0  # seconds


class RemoteCatalogue:
    """All methods raise ProviderUnavailable."""

    def __init__(self, server: StackServer) -> None:
        self._server = server
        self._read = SharedCall(self._ask)
        self._providers: Sequence[ProviderState] = ()
        self._read_at = float("-inf")

    async def providers(self) -> list[ProviderState]:
        """All providers, asked anew."""
        await self._read()
        return list(self._providers)

    async def providers_down(self) -> list[ProviderState]:
        """Those that said lately that they do not work."""
        if time.monotonic() - self._read_at > _FRESH_FOR:
            await self._read()
        return [state for state in self._providers if state.status == "Error"]

    async def shields(self) -> list[Shield]:
        try:
            body = await self._server.get("/shields")
        except NotServed:
            return []
        return [
            Shield(
                str(entry["identifier"]),
                str(entry["provider_id"]),
                str(entry.get("provider_resource_id") or ""),
                without_secrets(entry.get("params") or {}),
            )
            for entry in body["data"]
        ]

    async def _ask(self) -> None:
        body = await self._server.get("/providers")
        self._providers = [_state(entry) for entry in body["data"]]
        self._read_at = time.monotonic()


def _state(entry: Any) -> ProviderState:
    health = entry.get("health") or {}
    message = health.get("message")
    return ProviderState(
        str(entry["api"]),
        str(entry["provider_id"]),
        str(entry["provider_type"]),
        str(health.get("status") or "Not Implemented"),
        str(message) if message else None,
        without_secrets(entry.get("config") or {}),
    )
