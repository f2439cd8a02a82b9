"""Llama Stack inside this process: the one place that starts it and speaks to it."""

import asyncio
import logging
import time
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from contextlib import aclosing
from typing import Any

from anyio import to_thread
from llama_stack.core.datatypes import StackConfig
from llama_stack.core.distribution import get_provider_registry
from llama_stack.core.library_client import AsyncLlamaStackAsLibraryClient
from llama_stack.core.routing_tables.models import ModelsRoutingTable
from llama_stack.core.server.routes import initialize_route_impls
from llama_stack.core.stack import Stack
from llama_stack_api import Api, OpenAIChatCompletionRequestWithExtraBody
from llama_stack_client import AsyncLlamaStackClient
from openai import AsyncStream

from lightspeed.errors import LightspeedError, ModelRefused, StartupError
from lightspeed.stack.chat import ChatPiece, ChatRequest, ToolCallPiece
from lightspeed.stack.connections import ConnectionPool, keep_connections, opened_streams
from lightspeed.stack.knowledge import KnowledgeStores
from lightspeed.stack.model_lookup import remember_models
from lightspeed.stack.models import Model
from lightspeed.stack.passages import EmbeddingModel
from lightspeed.stack.provider_errors import request_error
from lightspeed.stack.providers_check import check_providers, import_providers
from lightspeed.stack.registry import forget_what_has_changed

logger = logging.getLogger(__name__)

_LISTING_TAKES_AT_MOST = 10.0  # seconds
_SHORTEST_PAUSE, _LONGEST_PAUSE = 2.0, 60.0  # seconds between two listings
_MODELS_ARE_FRESH_FOR = 5.0  # seconds; as long as the stack itself keeps its registry


class LibraryClient(AsyncLlamaStackAsLibraryClient):  # type: ignore[misc]
    """The stack's library client, given a configuration instead of a file, and silent."""

    def __init__(self, configuration: StackConfig, registry: Any) -> None:
        AsyncLlamaStackClient.__init__(self, base_url="http://library")
        self.config = configuration
        self.custom_provider_registry = registry
        self.config_path_or_distro_name = "run.yaml"
        self.provider_data = None
        self.route_impls: Any = None
        self.stack: Any = None

    async def initialize(self) -> bool:
        # A set on the class in the stack: a second stack in this process would believe its providers listed already.
        ModelsRoutingTable.listed_providers = set()
        await forget_what_has_changed(self.config)
        self.stack = Stack(self.config, self.custom_provider_registry)
        await self.stack.initialize()
        self.impls = self.stack.impls
        self.route_impls = initialize_route_impls(self.impls)
        return True

    async def abandon(self) -> None:
        """Free what a failed start has left."""
        if self.stack is not None and self.stack.impls:
            await self.shutdown()


class EmbeddedStack:
    """The embedded stack: models, chat, knowledge stores. Made by `start`, ended by `close`."""

    def __init__(self, client: LibraryClient) -> None:
        self._client = client
        self._inference = client.impls[Api.inference]
        self._models: list[Model] = []
        self._models_read_at = float("-inf")
        self._pools: list[ConnectionPool] = []
        self._listing: asyncio.Task[None] | None = None
        self._list_again_at = 0.0
        self._pause = _SHORTEST_PAUSE
        self.knowledge = KnowledgeStores(client.impls)

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
    ) -> "EmbeddedStack":
        """Start all providers of a run configuration (environment variables already substituted).

        Raises ConfigurationError when a provider or its settings are wrong, StartupError when one cannot start.
        """
        configuration, registry = await to_thread.run_sync(_prepare, run_configuration, source)
        client = LibraryClient(configuration, registry)
        progress("starting the providers")
        try:
            await client.initialize()
            stack = cls(client)
            await stack._settle()
        except LightspeedError:
            await client.abandon()
            raise
        except Exception as error:
            await client.abandon()
            logger.debug("The stack did not start", exc_info=True)
            raise StartupError(f"the embedded stack cannot start: {' '.join(str(error).split())}") from error
        return stack

    async def close(self) -> None:
        if self._listing is not None:
            self._listing.cancel()
        for pool in self._pools:
            await pool.close()
        await self._client.shutdown()

    async def models(self) -> list[Model]:
        """All models of the providers that run."""
        now = time.monotonic()
        if now - self._models_read_at > _MODELS_ARE_FRESH_FOR:
            table = self._inference.routing_table
            found = await table.get_all_with_type("model")
            self._models = [
                Model(
                    model.identifier,
                    model.provider_id,
                    model.provider_resource_id or "",
                    str(getattr(model.model_type, "value", model.model_type)),
                    dict(model.metadata or {}),
                )
                for model in found
                if model.provider_id in table.impls_by_provider_id
            ]
            self._models_read_at = now
            self._list_again_soon()
        return self._models

    @property
    def providers(self) -> frozenset[str]:
        """The ids of the model providers, also of those that could not tell their models yet."""
        return frozenset(self._inference.routing_table.impls_by_provider_id)

    def _list_again_soon(self) -> None:
        """The stack asks a provider for its models once; one that was away then is asked again, in the background."""
        missing = self.providers - {model.provider_id for model in self._models}
        running = self._listing is not None and not self._listing.done()
        if missing and not running and time.monotonic() >= self._list_again_at:
            self._listing = asyncio.create_task(self._list_again(missing))

    async def _list_again(self, providers: frozenset[str]) -> None:
        found = await asyncio.gather(*(self._list_models(provider) for provider in providers))
        self._pause = _SHORTEST_PAUSE if any(found) else min(2 * self._pause, _LONGEST_PAUSE)
        self._list_again_at = time.monotonic() + self._pause
        if any(found):
            self._models_read_at = float("-inf")

    async def _list_models(self, provider: str) -> bool:
        table = self._inference.routing_table
        try:
            async with asyncio.timeout(_LISTING_TAKES_AT_MOST):
                found = await table.impls_by_provider_id[provider].list_models()
        except Exception as error:
            logger.debug("Provider %s cannot list its models: %s", provider, error)
            return False
        if found:
            await table.update_registered_models(provider, found)
        return bool(found)

    async def default_embedding_model(self) -> EmbeddingModel:
        """What new knowledge stores use. Raises StartupError when no model makes embeddings."""
        model = await self.knowledge.embedding_model()
        if model is not None:
            return model
        for candidate in await self.models():
            dimension = candidate.metadata.get("embedding_dimension")
            if candidate.model_type == "embedding" and dimension:
                return EmbeddingModel(candidate.identifier, int(dimension))
        raise StartupError("run.yaml has no embedding model, which knowledge stores need")

    async def token_counter(self, model: str) -> tuple[Callable[[str], int], int] | None:
        """What counts tokens as an embedding model does, and that model's limit; None where it cannot be known."""
        table = self._inference.routing_table
        registered = await table.get_object_by_identifier("model", model)
        provider = table.impls_by_provider_id.get(registered.provider_id) if registered else None
        counter = getattr(provider, "token_counter", None)
        return counter(registered.provider_resource_id) if counter else None

    async def chat(self, request: ChatRequest) -> AsyncGenerator[ChatPiece]:
        """Ask a model. Returns when the provider has accepted the request; the pieces follow.

        Raises a RequestError, here or while the pieces are read. Closing the iterator stops the generation.
        """
        parameters = dict(request.parameters)
        if request.stream:
            parameters["stream_options"] = {"include_usage": True}
        if request.tools:
            parameters["tools"] = list(request.tools)
        try:
            call = OpenAIChatCompletionRequestWithExtraBody(
                model=request.model, messages=list(request.messages), stream=request.stream, **parameters
            )
            with opened_streams() as streams:
                answer = await self._inference.openai_chat_completion(call)
        except Exception as error:
            raise self._mapped(error, request.model) from error
        return self._streamed(answer, request.model, streams) if request.stream else _whole(answer)

    async def _streamed(
        self, chunks: AsyncGenerator[Any], model: str, streams: Sequence[AsyncStream[Any]]
    ) -> AsyncGenerator[ChatPiece]:
        finished = False
        try:
            async with aclosing(chunks):
                async for chunk in chunks:
                    piece = _piece(chunk)
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
        return mapped

    async def _settle(self) -> None:
        """What must be done once before the first request."""
        await self._keep_no_second_record()
        for provider in self._inference.routing_table.impls_by_provider_id.values():
            remember_models(provider)
            pool = keep_connections(provider)
            if pool is not None:
                self._pools.append(pool)
        await self.models()
        await self.knowledge.open()

    async def _keep_no_second_record(self) -> None:
        """The stack writes each completion to a database of its own; this service has recorded the turn already."""
        store, self._inference.store = self._inference.store, None
        if store is not None:
            await store.shutdown()


def _quiet() -> None:
    """The vector stores warn that files cannot be attached without a files API, which this service does not use."""
    name = "llama_stack.providers.utils.memory.openai_vector_store_mixin"
    logging.getLogger(name).addFilter(_is_not_about_files)


def _is_not_about_files(record: logging.LogRecord) -> bool:
    return "Files API is not available" not in str(record.msg)


def _prepare(run_configuration: Mapping[str, Any], source: str) -> tuple[StackConfig, Any]:
    configuration = check_providers(run_configuration, source)
    registry = get_provider_registry(configuration)
    import_providers(configuration, registry, source)
    _quiet()
    return configuration, registry


async def _whole(answer: Any) -> AsyncGenerator[ChatPiece]:
    choice = answer.choices[0] if answer.choices else None
    message = choice.message if choice is not None else None
    calls = (message.tool_calls or ()) if message is not None else ()
    yield ChatPiece(
        text=_text(message.content) if message is not None else "",
        tool_calls=tuple(
            ToolCallPiece(index, call.id, call.function.name, call.function.arguments or "")
            for index, call in enumerate(calls)
            if call.function is not None
        ),
        finish_reason=(choice.finish_reason if choice is not None else None) or "stop",
        input_tokens=answer.usage.prompt_tokens if answer.usage else None,
        output_tokens=answer.usage.completion_tokens if answer.usage else None,
    )


def _piece(chunk: Any) -> ChatPiece:
    usage = chunk.usage
    if not chunk.choices:
        if usage is None:
            return ChatPiece()
        return ChatPiece(input_tokens=usage.prompt_tokens, output_tokens=usage.completion_tokens)
    choice = chunk.choices[0]
    delta = choice.delta
    calls = delta.tool_calls
    if calls is None and usage is None:
        return ChatPiece(delta.content or "", (), choice.finish_reason)
    return ChatPiece(
        delta.content or "",
        tuple(
            ToolCallPiece(
                call.index or 0,
                call.id,
                call.function.name if call.function else None,
                (call.function.arguments if call.function else None) or "",
            )
            for call in calls or ()
        ),
        choice.finish_reason,
        usage.prompt_tokens if usage else None,
        usage.completion_tokens if usage else None,
    )


def _text(content: Any) -> str:
    if content is None or isinstance(content, str):
        return content or ""
    return "".join(part.text for part in content if getattr(part, "text", None))
