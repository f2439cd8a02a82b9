"""Tokens for the Azure models behind the server, which the server takes as provider data."""

import asyncio
import json
import logging
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from lightspeed.errors import RequestError
from lightspeed.stack.azure_tokens import AzureTokens
from lightspeed.stack.remote.failures import NotServed
from lightspeed.stack.remote.transport import PROVIDER_DATA_HEADER
from lightspeed.stack.shared_call import SharedCall

if TYPE_CHECKING:
    from lightspeed.stack.remote.server import StackServer

logger = logging.getLogger(__name__)

_AZURE = "remote::azure"


class RemoteAzure:
    """Asks which providers of the server speak to Azure, as soon as it is there and after each outage."""

    def __init__(self, server: "StackServer", tokens: AzureTokens) -> None:
        self._server = server
        self._tokens = tokens
        self._addresses: Mapping[str, str] | None = None
        self._read = SharedCall(self._ask)
        self._preparing: asyncio.Task[None] | None = None
        server.presence.on_return(self._prepare)

    async def headers(self, model: str) -> dict[str, str]:
        """What a call of the model needs: nothing, unless it is one of Azure. Raises ProviderUnavailable."""
        addresses = self._addresses if self._addresses is not None else await self._read()
        address = addresses.get(model.partition("/")[0])
        if address is None:
            return {}
        return {PROVIDER_DATA_HEADER: json.dumps(_provider_data(await self._tokens.token(), address))}

    def provider_data(self) -> dict[str, str]:
        """For calls in which the server chooses the model: the token that is there, and the first address."""
        token = self._tokens.at_hand
        address = next(iter((self._addresses or {}).values()), None)
        return {} if token is None or address is None else _provider_data(token, address)

    async def close(self) -> None:
        if self._preparing is not None:
            self._preparing.cancel()
        self._read.close()
        await self._tokens.close()

    def _prepare(self) -> None:
        self._addresses = None
        self._preparing = asyncio.create_task(self._fetch_ahead(), name="azure")

    async def _fetch_ahead(self) -> None:
        """So that the first question need not wait, and the server can embed with Azure's models from the beginning."""
        try:
            if await self._read():
                await self._tokens.token()
        except RequestError as error:
            logger.debug("The token for Azure has to wait: %s", error)

    async def _ask(self) -> Mapping[str, str]:
        try:
            body = await self._server.get("/providers")
        except NotServed:
            body = {"data": []}
        found = {
            str(entry["provider_id"]): _address(entry)
            for entry in body["data"]
            if entry.get("provider_type") == _AZURE
        }
        if not found:
            logger.warning("azure_entra_id has no effect: the Llama Stack server names no provider of Azure")
        self._addresses = found
        return found


def _provider_data(token: str, address: str) -> dict[str, str]:
    """Both are required by the stack's provider, which takes the address of its own run.yaml."""
    return {"azure_api_key": token, "azure_api_base": address}


def _address(entry: Mapping[str, Any]) -> str:
    config = entry.get("config") or {}
    return str(config.get("base_url") or config.get("api_base") or "https://azure.invalid")
