"""Llama Stack inside this process: the one place that starts it and speaks to it."""

import logging
import time
from collections.abc import AsyncGenerator, Callable, Iterable, Mapping, Sequence
from contextlib import AsyncExitStack, aclosing
from importlib.metadata import version
from typing import Any

from anyio import to_thread
from llama_stack.core.datatypes import StackConfig
from llama_stack.core.library_client import AsyncLlamaStackAsLibraryClient
from llama_stack.core.server.routes import initialize_route_impls
from llama_stack_api import Api, OpenAIChatCompletionRequestWithExtraBody
from llama_stack_client import AsyncLlamaStackClient
from openai import AsyncStream

from lightspeed.configuration.masking import hidden, secrets
from lightspeed.errors import LightspeedError, ModelRefused, ProviderUnavailable, StartupError
from lightspeed.stack.absent_stores import AbsentStores
from lightspeed.stack.azure_provider import sign_with_tokens
from lightspeed.stack.azure_tokens import AzureTokens
from lightspeed.stack.chat import ChatPiece, ChatRequest
from lightspeed.stack.connections import ConnectionPool, keep_connections, opened_streams
from lightspeed.stack.embedding import TokenCounter, token_counter
from lightspeed.stack.embedding_choice import default_embedding_model
from lightspeed.stack.files import Files
from lightspeed.stack.kept_validators import keep_validators
from lightspeed.stack.knowledge import KnowledgeStores
from lightspeed.stack.model_lookup import remember_models
from lightspeed.stack.models import Model
from lightspeed.stack.passages import EmbeddingModel
from lightspeed.stack.pieces import chunk_piece, whole_answer
from lightspeed.stack.provider_errors import request_error
from lightspeed.stack.provider_health import ProviderHealth
from lightspeed.stack.provider_list import ProviderList
from lightspeed.stack.provider_state import ProviderState
from lightspeed.stack.provider_watch import ProviderWatch
from lightspeed.stack.providers_check import check_providers, import_providers, provider_types
from lightspeed.stack.registry import forget_what_has_changed
from lightspeed.stack.resilient import ResilientStack
from lightspeed.stack.shield import Shield
from lightspeed.stack.shields import registered_shields
from lightspeed.stack.vector_stores import VectorStores

logger = logging.getLogger(__name__)

_MODELS_ARE_FRESH_FOR = 5.0  # seconds; as long as the stack itself keeps its registry


class LibraryClient(AsyncLlamaStackAsLibraryClient):  # type: ignore[misc]
    """The stack's library client, given a configuration instead of a file, and silent."""

    def __init__(self, configuration: StackConfig, registry: Any, *, strict: bool) -> None:
        AsyncLlamaStackClient.__init__(self, base_url="http://library")
        self.config = configuration
        self.custom_provider_registry = registry
        self.config_path_or_distro_name = "run.yaml"
        self.provider_data = None
        self.route_impls: Any = None
        self.stack: Any = None
        self._strict = strict

    async def initialize(self) -> bool:
        await forget_what_has_changed(self.config)
        self.stack = ResilientStack(self.config, self.custom_provider_registry, strict=self._strict)
        await self.stack.initialize()
        self.impls = self.stack.impls
        self.route_impls = initialize_route_impls(self.impls)
        return True

    async def abandon(self) -> None:
        """Free what a failed start has left."""
        if self.stack is not None and self.stack.impls:
            await self.shutdown()


class EmbeddedStack:
    """The embedded stack: models, chat, knowledge stores. Made by `start`, ended by `close`.

    `provider_list` are its providers, `watch` knows how they are.
    """

    def __init__(self, client: LibraryClient, azure_tokens: AzureTokens | None = None) -> None:
        self._client = client
        self._azure_tokens = azure_tokens
        self._inference = client.impls[Api.inference]
        self._models: list[Model] = []
        self._models_read_at = float("-inf")
        self._pools: list[ConnectionPool] = []
        self._heard: list[Callable[[Sequence[Model]], None]] = []
        absent = AbsentStores(lambda: client.stack.missing, lambda: client.stack.waiting)
        self.knowledge = KnowledgeStores(client.impls, absent, troubled=lambda: self.watch.soon())
        self.vector_stores = VectorStores(client.impls, absent)
        self.files = Files(client.impls)
        self.provider_list = ProviderList(client.config, client.custom_provider_registry)
        self.watch = ProviderWatch(
            client.stack, self.provider_list, joined=self._prepare_provider, changed=self._models_changed
        )

    @property
    def client(self) -> LibraryClient:
        """The stack's own client, for whatever this class does not offer."""
        return self._client

    @classmethod
    async def start(
        cls,
        run_configuration: Mapping[str, Any],
        *,
        source: str = "run.yaml",
        progress: Callable[[str], None] = lambda _: None,
        strict: bool = True,
        azure_tokens: AzureTokens | None = None,
    ) -> "EmbeddedStack":
        """Start all providers of a run configuration (environment variables already substituted).

        Unless `strict`, providers that cannot start do not matter, as long as another one may answer questions; they
        are tried again later. `azure_tokens` sign the calls of all Azure providers, and are closed with the stack, or
        if it does not start. Raises ConfigurationError when a provider or its settings are wrong, StartupError when
        one cannot start.
        """
        async with AsyncExitStack() as opened:
            if azure_tokens is not None:
                opened.push_async_callback(azure_tokens.close)
            configuration, registry = await to_thread.run_sync(_prepare, run_configuration, source)
            client = LibraryClient(configuration, registry, strict=strict)
            progress("starting the providers")
            stack = await cls._started(client, run_configuration, azure_tokens)
            opened.pop_all()
            return stack

    @classmethod
    async def _started(
        cls, client: LibraryClient, run_configuration: Mapping[str, Any], azure_tokens: AzureTokens | None
    ) -> "EmbeddedStack":
        stack = None
        try:
            await client.initialize()
            stack = cls(client, azure_tokens)
            await stack._settle()
        except Exception as error:
            if stack is not None:
                await stack._close_connections()
            await client.abandon()
            if isinstance(error, LightspeedError):
                raise
            logger.debug("The stack did not start", exc_info=True)
            reason = hidden(" ".join(str(error).split()), secrets(run_configuration))
            raise StartupError(f"the embedded stack cannot start: {reason}") from error
        return stack

    async def close(self) -> None:
        await self.watch.close()
        await self._close_connections()
        if self._azure_tokens is not None:
            await self._azure_tokens.close()
        await self._client.shutdown()

    async def _close_connections(self) -> None:
        for pool in self._pools:
            await pool.close()

    async def models(self) -> list[Model]:
        """All models of the providers that run, in the order of run.yaml; those of providers that are down come last."""
        now = time.monotonic()
        if now - self._models_read_at > _MODELS_ARE_FRESH_FOR:
            try:
                self._models = await self._registered_models()
            except Exception as error:
                if not self._models:
                    raise
                logger.warning("The stack's register cannot be read: %s", error)
            self._models_read_at = now
        if not (down := self.down):
            return self._models
        return sorted(self._models, key=lambda model: model.provider_id in down)

    async def _registered_models(self) -> list[Model]:
        table = self._inference.routing_table
        order = [entry.provider_id for entry in self.provider_list if entry.api == Api.inference.value]
        places = {provider_id: place for place, provider_id in enumerate(order)}
        return [
            Model(
                model.identifier,
                model.provider_id,
                model.provider_resource_id or "",
                str(getattr(model.model_type, "value", model.model_type)),
                dict(model.metadata or {}),
            )
            for model in sorted(
                await table.get_all_with_type("model"), key=lambda model: places.get(model.provider_id, 0)
            )
            if model.provider_id in table.impls_by_provider_id
        ]

    @property
    def providers(self) -> frozenset[str]:
        """The ids of the model providers, also of those that do not run or could not tell their models yet."""
        return frozenset(
            entry.provider_id for entry in self.provider_list if entry.api == Api.inference.value
        )

    @property
    def down(self) -> frozenset[str]:
        """The ids of the model providers that cannot be asked at this moment."""
        return frozenset(found.provider_id for found in self.watch.down if found.api == Api.inference.value)

    async def provider_states(self, *, fresh: bool = False) -> list[ProviderState]:
        """All configured providers, and how they were when they were asked last; `fresh` asks them now."""
        if fresh:
            await self.watch.check()
        return self._states(self.watch.of(entry.api, entry.provider_id) for entry in self.provider_list)

    async def providers_down(self) -> list[ProviderState]:
        """The providers that did not work when they were asked last."""
        return self._states(self.watch.down)

    def waiting(self) -> list[tuple[str, str]]:
        """What could not be registered yet, as (name, reason)."""
        return self.watch.waiting()

    def _states(self, found: Iterable[ProviderHealth]) -> list[ProviderState]:
        entries = {(entry.api, entry.provider_id): entry for entry in self.provider_list}
        return [
            ProviderState(
                health.api,
                health.provider_id,
                entry.provider_type,
                health.status,
                health.message,
                entry.config,
            )
            for health in found
            if (entry := entries.get((health.api, health.provider_id))) is not None
        ]

    async def version(self) -> str:
        """The version of the stack in this process."""
        return await to_thread.run_sync(version, "llama-stack")

    async def outage(self) -> str | None:
        """None: a stack in this process is always there."""
        return None

    async def shields(self) -> list[Shield]:
        """All shields of the providers that run."""
        return await registered_shields(self._client.impls)

    def when_models_change(self, hear: Callable[[Sequence[Model]], None]) -> None:
        """Call `hear` with all models whenever others are there than before."""
        self._heard.append(hear)

    async def _models_changed(self) -> None:
        self._models_read_at = float("-inf")
        models = await self.models()
        for hear in self._heard:
            hear(models)

    def _prepare_provider(self, provider: Any) -> None:
        remember_models(provider)
        if self._azure_tokens is not None:
            sign_with_tokens(provider, self._azure_tokens)
        pool = keep_connections(provider)
        if pool is not None:
            self._pools.append(pool)

    async def default_embedding_model(self) -> EmbeddingModel:
        """What new knowledge stores use. Raises StartupError when no model makes embeddings."""
        return await default_embedding_model(self, place="run.yaml")

    async def token_counter(self, model: str) -> TokenCounter | None:
        """What counts tokens as an embedding model does, and that model's limit; None where it cannot be known."""
        return await token_counter(self._inference, model)

    async def chat(self, request: ChatRequest) -> AsyncGenerator[ChatPiece]:
        """Ask a model. Returns when the provider has accepted the request; the pieces follow.

        Raises a RequestError, here or while the pieces are read. Closing the iterator stops the generation.
        """
        try:
            call = OpenAIChatCompletionRequestWithExtraBody(**request.arguments())
            with opened_streams() as streams:
                answer = await self._inference.openai_chat_completion(call)
        except Exception as error:
            raise self._mapped(error, request.model) from error
        return self._streamed(answer, request.model, streams) if request.stream else whole_answer(answer)

    async def _streamed(
        self, chunks: AsyncGenerator[Any], model: str, streams: Sequence[AsyncStream[Any]]
    ) -> AsyncGenerator[ChatPiece]:
        finished = False
        try:
            async with aclosing(chunks):
                async for chunk in chunks:
                    piece = chunk_piece(chunk)
                    finished = finished or piece.finish_reason is not None
                    yield piece
        except Exception as error:
            raise self._mapped(error, model) from error
        finally:
            for stream in streams:
                await stream.close()
        if not finished:
            raise ModelRefused("The model provider ended its stream before the answer was complete.")

    def _mapped(self, error: Exception, model: str) -> Exception:
        mapped = request_error(error, model)
        if mapped is not error:
            logger.warning("A call of %s failed: %s: %s", model, type(error).__name__, mapped.cause)
            logger.debug("The provider's error", exc_info=error)
        if isinstance(mapped, ProviderUnavailable):
            self.watch.soon()
        return mapped

    async def _settle(self) -> None:
        """What must be done once before the first request."""
        await self._keep_no_second_record()
        keep_validators()
        for provider in self._inference.routing_table.impls_by_provider_id.values():
            self._prepare_provider(provider)
        await self.watch.check()
        stack = self._client.stack
        await stack.complete(self.down)
        models = await self.models()
        self._refuse_a_start_without_models(models)
        await self.knowledge.open()
        self.watch.begin()

    def _refuse_a_start_without_models(self, models: Sequence[Model]) -> None:
        """Raise why a provider could not be started, if it is a mistake of the settings and nobody else may answer."""
        listed = {model.provider_id for model in models}
        talking = {model.provider_id for model in models if model.model_type == "llm"}
        mistakes = [
            missing.error
            for missing in self._client.stack.missing
            if missing.api is Api.inference and isinstance(missing.error, LightspeedError)
        ]
        running = frozenset(self._inference.routing_table.impls_by_provider_id)
        if mistakes and not talking & running and not running - listed:
            raise mistakes[0]

    async def _keep_no_second_record(self) -> None:
        """The stack writes each completion to a database of its own; this service has recorded the turn already."""
        store, self._inference.store = self._inference.store, None
        if store is not None:
            await store.shutdown()


def _prepare(run_configuration: Mapping[str, Any], source: str) -> tuple[StackConfig, Any]:
    configuration = check_providers(run_configuration, source)
    registry = provider_types(configuration, source)
    import_providers(configuration, registry, source)
    return configuration, registry
