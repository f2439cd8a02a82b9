"""A Llama Stack server behind the same face as the embedded stack."""

import logging
from collections.abc import AsyncGenerator, Callable, Sequence
from typing import Self

import anyio

from lightspeed.errors import ProviderUnavailable, RequestError, StartupError
from lightspeed.stack.azure_tokens import AzureTokens
from lightspeed.stack.chat import ChatPiece, ChatRequest
from lightspeed.stack.embedding_choice import default_embedding_model
from lightspeed.stack.models import Model
from lightspeed.stack.passages import EmbeddingModel
from lightspeed.stack.provider_state import ProviderState
from lightspeed.stack.remote.catalogue import RemoteCatalogue
from lightspeed.stack.remote.chat import RemoteChat
from lightspeed.stack.remote.failures import Unusable
from lightspeed.stack.remote.files import RemoteFiles
from lightspeed.stack.remote.knowledge import RemoteKnowledge
from lightspeed.stack.remote.models import RemoteModels
from lightspeed.stack.remote.server import StackServer
from lightspeed.stack.remote.settings import ServerSettings
from lightspeed.stack.remote.store_directory import StoreDirectory
from lightspeed.stack.remote.transport import ProviderData
from lightspeed.stack.remote.vector_stores import RemoteVectorStores
from lightspeed.stack.shield import Shield

logger = logging.getLogger(__name__)


class RemoteStack:
    """The models and knowledge stores of a server. Made by `start`, ended by `close`."""

    def __init__(self, server: StackServer) -> None:
        self._server = server
        self._models = RemoteModels(server)
        self._chat = RemoteChat(server)
        directory = StoreDirectory(server)
        self.knowledge = RemoteKnowledge(server, directory)
        self.vector_stores = RemoteVectorStores(server, directory, self._models)
        self.files = RemoteFiles(server)
        self._catalogue = RemoteCatalogue(server)
        server.presence.on_return(self._models.refresh)
        server.presence.on_return(directory.forget)

    @classmethod
    async def start(
        cls,
        settings: ServerSettings,
        *,
        provider_data: ProviderData | None = None,
        azure_tokens: AzureTokens | None = None,
    ) -> Self:
        """Find the server. `provider_data` is asked for each request: credentials for the providers behind it.

        `azure_tokens` go with the calls of Azure models, and are closed with the stack, or if it does not start.
        Raises StartupError when it cannot be used, or cannot be reached unless `settings.may_be_away`.
        """
        server = await StackServer.open(settings, provider_data, azure_tokens)
        try:
            await _find(server, settings)
        except BaseException:
            with anyio.CancelScope(shield=True):
                await server.close()
            raise
        stack = cls(server)
        try:
            await stack._settle()
        except BaseException:
            with anyio.CancelScope(shield=True):
                await stack.close()
            raise
        return stack

    async def _settle(self) -> None:
        """What must be done once before the first request."""
        presence = self._server.presence
        presence.watch()
        if presence.is_known:
            try:
                await self.models()
            except RequestError as error:
                raise StartupError(
                    f"the Llama Stack server does not list its models: {error.cause}"
                ) from error

    async def close(self) -> None:
        self._models.close()
        await self._server.close()

    @property
    def providers(self) -> frozenset[str]:
        """The ids of the model providers whose models are known."""
        return self._models.providers

    @property
    def down(self) -> frozenset[str]:
        """Nothing: the server does not tell which of its model providers cannot be asked."""
        return frozenset()

    async def provider_states(self, *, fresh: bool = False) -> list[ProviderState]:
        """All providers of the server, and how they are. Raises ProviderUnavailable."""
        return await self._catalogue.providers()

    async def providers_down(self) -> list[ProviderState]:
        """The providers that do not work; one called `unknown` stands for a server that cannot be reached."""
        try:
            if (outage := await self.outage()) is None:
                return await self._catalogue.providers_down()
        except ProviderUnavailable as error:
            outage = error.cause
        message = f"Failed to initialize health check: {outage}"
        return [ProviderState("", "unknown", "", "Error", message)]

    def waiting(self) -> list[tuple[str, str]]:
        return []

    async def shields(self) -> list[Shield]:
        """All shields of the server. Raises ProviderUnavailable."""
        return await self._catalogue.shields()

    def when_models_change(self, hear: Callable[[Sequence[Model]], None]) -> None:
        """Call `hear` with all models whenever others are there than before."""
        self._models.when_they_change(hear)

    async def models(self) -> list[Model]:
        """All models of the server. Raises ProviderUnavailable."""
        return await self._models.all()

    async def chat(self, request: ChatRequest) -> AsyncGenerator[ChatPiece]:
        """Ask a model. Returns when the server has accepted the request; the pieces follow.

        Raises a RequestError, here or while the pieces are read. Closing the iterator stops the generation.
        """
        return await self._chat.ask(request)

    async def default_embedding_model(self) -> EmbeddingModel:
        """What new knowledge stores use. Raises StartupError when no model makes embeddings, ProviderUnavailable."""
        return await default_embedding_model(self, place="the Llama Stack server")

    async def token_counter(self, model: str) -> tuple[Callable[[str], int], int] | None:
        """None: the server does not count tokens."""
        return None

    async def version(self) -> str:
        """The server's version. Raises ProviderUnavailable."""
        return await self._server.presence.version()

    async def outage(self) -> str | None:
        """Why the server cannot be used at this moment, if so."""
        return await self._server.presence.outage()


async def _find(server: StackServer, settings: ServerSettings) -> None:
    """Ask for the version until there is an answer, or as often as the settings say."""
    for left in reversed(range(settings.attempts)):
        try:
            version = await server.presence.version()
        except Unusable as error:
            raise StartupError(f"{settings.shown_address}: {error.cause}") from error
        except ProviderUnavailable as error:
            if left:
                await anyio.sleep(settings.retry_delay)
            elif settings.may_be_away:
                logger.warning("Starting without the Llama Stack server %s", settings.shown_address)
            else:
                raise StartupError(
                    f"the Llama Stack server {settings.shown_address} cannot be reached "
                    f"({settings.attempts} attempts): {error.cause}"
                ) from error
        except RequestError as error:
            raise StartupError(f"{settings.shown_address}: {error.cause}") from error
        else:
            logger.info("Llama Stack %s answers at %s", version, settings.shown_address)
            return
