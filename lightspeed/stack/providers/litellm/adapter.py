"""The stack's inference API, answered by litellm."""

from collections.abc import AsyncGenerator, AsyncIterator, Iterable
from typing import Any, NoReturn

from anyio import CancelScope, create_task_group, to_thread
from llama_stack_api import (
    HealthResponse,
    HealthStatus,
    InferenceProvider,
    Model,
    ModelNotFoundError,
    ModelsProtocolPrivate,
    ModelType,
    OpenAIChatCompletion,
    OpenAIChatCompletionChunk,
    OpenAIChatCompletionRequestWithExtraBody,
    OpenAIEmbeddingsRequestWithExtraBody,
    OpenAIEmbeddingsResponse,
)

from lightspeed.configuration.masking import secrets
from lightspeed.stack.provider_address import is_there
from lightspeed.stack.providers.litellm.answers import chat_chunk, chat_completion, embeddings
from lightspeed.stack.providers.litellm.config import LitellmConfig, LitellmModel
from lightspeed.stack.providers.litellm.failures import provider_failure
from lightspeed.stack.providers.litellm.library import load_litellm
from lightspeed.stack.providers.litellm.model_facts import ModelFacts, known_facts
from lightspeed.stack.providers.litellm.requests import chat_arguments, embedding_arguments


class LitellmInference(InferenceProvider, ModelsProtocolPrivate):  # type: ignore[misc]
    """Chat and embeddings by whatever litellm reaches. Its errors are those of OpenAI's client."""

    __provider_id__: str

    def __init__(self, config: LitellmConfig) -> None:
        self.config = config
        self._litellm: Any = None
        self._facts: dict[str, ModelFacts] = {}
        self._listed = False

    async def initialize(self) -> None:
        """Import litellm and look the models up in it. Raises StartupError with one line that names the model."""
        self._litellm = await to_thread.run_sync(load_litellm)
        for name, settings in self.config.models.items():
            self._facts[name] = await to_thread.run_sync(known_facts, self._litellm, name, settings)

    async def shutdown(self) -> None:
        """Close the connections; litellm makes new ones where it still needs some."""
        litellm, self._litellm = self._litellm, None
        if litellm is not None:
            await litellm.close_litellm_async_clients()
            litellm.in_memory_llm_clients_cache.flush_cache()

    async def health(self) -> HealthResponse:
        """An error if all models have an address of their own and no server is there; litellm itself cannot be asked."""
        addresses = {settings.api_base for settings in self.config.models.values()}
        if None in addresses or await _any_is_there(address for address in addresses if address):
            return HealthResponse(status=HealthStatus.OK)
        return HealthResponse(status=HealthStatus.ERROR, message="No server of its models can be reached.")

    async def should_refresh_models(self) -> bool:
        """True until this provider has been listed.

        The stack remembers providers by id for the whole process, so a second stack would never ask.
        """
        return not self._listed

    async def list_models(self) -> list[Model]:
        self._listed = True
        return [
            Model(
                identifier=name,
                provider_resource_id=name,
                provider_id=self.__provider_id__,
                model_type=ModelType.embedding if facts.embedding_dimension else ModelType.llm,
                metadata=facts.metadata(),
            )
            for name, facts in self._facts.items()
        ]

    async def register_model(self, model: Model) -> Model:
        """Raises ModelNotFoundError when the model is not configured here."""
        self._settings(model.provider_resource_id)
        return model

    async def unregister_model(self, model_id: str) -> None:
        """Nothing to free."""

    async def openai_chat_completion(
        self, params: OpenAIChatCompletionRequestWithExtraBody
    ) -> OpenAIChatCompletion | AsyncIterator[OpenAIChatCompletionChunk]:
        """The answer, or its chunks when `params.stream`.

        Raises an `openai.APIError`, before the first chunk if the provider refuses the request.
        """
        settings = self._settings(params.model)
        answer = await self._call("acompletion", settings, chat_arguments(params, settings))
        if not params.stream:
            return chat_completion(answer)
        chunks = self._chunks(answer, settings)
        await anext(chunks)
        return chunks

    async def openai_embeddings(
        self, params: OpenAIEmbeddingsRequestWithExtraBody
    ) -> OpenAIEmbeddingsResponse:
        """Raises an `openai.APIError`."""
        settings = self._settings(params.model)
        answer = await self._call("aembedding", settings, embedding_arguments(params, settings))
        return embeddings(answer, params.model, as_base64=params.encoding_format == "base64")

    async def openai_chat_completions_with_reasoning(self, params: Any) -> NoReturn:
        raise NotImplementedError(
            "The provider inline::litellm does not return reasoning apart from the answer."
        )

    async def openai_completion(self, params: Any) -> NoReturn:
        raise NotImplementedError("The provider inline::litellm chats, it does not complete texts.")

    async def rerank(self, request: Any) -> NoReturn:
        raise NotImplementedError("The provider inline::litellm does not rerank.")

    async def _call(self, function: str, settings: LitellmModel, arguments: dict[str, Any]) -> Any:
        if self._litellm is None:
            raise RuntimeError("The provider inline::litellm is not running.")
        try:
            return await getattr(self._litellm, function)(**arguments)
        except Exception as error:
            # litellm's own error may quote the address with a key in it: it is not chained.
            raise provider_failure(error, _secrets(settings)) from None

    async def _chunks(self, stream: Any, settings: LitellmModel) -> AsyncGenerator[Any]:
        """None once the first chunk is there, and then the chunks.

        For some providers litellm asks only then, so that a refusal is known; and a generator that nobody has begun
        would not close its connection.
        """
        try:
            first = await anext(stream, None)
            yield None
            if first is not None:
                yield _chunk(first, stream)
            async for chunk in stream:
                yield _chunk(chunk, stream)
        except Exception as error:
            raise provider_failure(error, _secrets(settings)) from None
        finally:
            with CancelScope(shield=True):
                await stream.aclose()

    def _settings(self, name: str | None) -> LitellmModel:
        settings = self.config.models.get(name or "")
        if settings is None:
            raise ModelNotFoundError(str(name))
        return settings


def _chunk(chunk: Any, stream: Any) -> OpenAIChatCompletionChunk:
    reason = stream.received_finish_reason or stream.intermittent_finish_reason
    return chat_chunk(chunk, finished=reason is not None)


def _secrets(settings: LitellmModel) -> list[str]:
    found = list(secrets({"extra": settings.extra, "api_base": settings.api_base}))
    return [*found, settings.api_key.get_secret_value()] if settings.api_key else found


async def _any_is_there(addresses: Iterable[str]) -> bool:
    found: list[str] = []

    async def look(address: str) -> None:
        if await is_there({"base_url": address}):
            found.append(address)

    async with create_task_group() as group:
        for address in addresses:
            group.start_soon(look, address)
    return bool(found)
