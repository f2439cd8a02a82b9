"""The stack's inference API, answered by the engine."""

import logging
import re
import time
from contextlib import aclosing
from typing import Any

import anyio.to_thread
from llama_stack_api import (
    HealthResponse,
    HealthStatus,
    Model,
    ModelNotFoundError,
    ModelType,
    OpenAIChatCompletion,
    OpenAIChatCompletionChunk,
    OpenAIChatCompletionRequestWithExtraBody,
    OpenAICompletion,
    OpenAICompletionRequestWithExtraBody,
    OpenAIEmbeddingsRequestWithExtraBody,
)
from llama_stack_api.inference.models import RerankRequest

from lightspeed.errors import StartupError
from lightspeed.stack.providers.llamacpp.answers import (
    chat_chunk,
    completion_chunk,
    fold_chat,
    fold_completion,
)
from lightspeed.stack.providers.llamacpp.config import LlamaCppConfig
from lightspeed.stack.providers.llamacpp.engine import Engine, Kind
from lightspeed.stack.providers.llamacpp.generation import Generation
from lightspeed.stack.providers.llamacpp.gguf import GGUFHeader, read_header
from lightspeed.stack.providers.llamacpp.requests import chat_body, completion_body
from lightspeed.stack.providers.llamacpp.stream import AnswerStream
from lightspeed.stack.weights import weights_path

logger = logging.getLogger(__name__)


class LlamaCppInferenceAdapter:
    """Implements the stack's `InferenceProvider` and `ModelsProtocolPrivate` for one GGUF model."""

    def __init__(self, config: LlamaCppConfig) -> None:
        self.config = config
        self.model_store: Any = None
        self.model_id = config.model_id or ""
        self._engine: Engine | None = None
        self._header: GGUFHeader | None = None
        self._knows_tools = False
        self._warned_about_tools = False
        self._listed = False

    async def initialize(self) -> None:
        """Loads the model in a worker thread. Raises StartupError, one line that names the file and the cause."""
        await anyio.to_thread.run_sync(self._load)

    async def shutdown(self) -> None:
        """Stops running generations and frees the model and its threads."""
        engine, self._engine = self._engine, None
        if engine is not None:
            await anyio.to_thread.run_sync(engine.close)

    async def health(self) -> HealthResponse:
        if self._engine is None:
            return HealthResponse(status=HealthStatus.ERROR, message="The model is not loaded")
        return HealthResponse(status=HealthStatus.OK)

    async def list_models(self) -> list[Model]:
        """The one model, with `context_length` (tokens of one request), `file` and `size_bytes` as metadata."""
        if self._engine is None or self._header is None:
            return []
        self._listed = True
        metadata = {
            "context_length": self._engine.context_size,
            "file": self._header.path.name,
            "size_bytes": self._header.size,
            "architecture": self._header.architecture,
            "name": self._header.name or self.model_id,
            "tools": self._knows_tools,
        }
        return [
            Model(
                identifier=self.model_id,
                provider_resource_id=self.model_id,
                provider_id=getattr(self, "__provider_id__", "llamacpp"),
                model_type=ModelType.llm,
                metadata=metadata,
            )
        ]

    async def should_refresh_models(self) -> bool:
        """True until the model was listed once; it never changes afterwards.

        The stack asks a provider's name only once in a process, even when a second stack is made in it.
        """
        return not self._listed

    async def register_model(self, model: Model) -> Model:
        """Accepts the loaded model under any public name; raises ModelNotFoundError for another model."""
        self._require_model(model.provider_resource_id)
        return model

    async def unregister_model(self, model_id: str) -> None:
        return None

    async def openai_chat_completion(
        self, params: OpenAIChatCompletionRequestWithExtraBody
    ) -> OpenAIChatCompletion | AnswerStream[OpenAIChatCompletionChunk]:
        """The answer, or an iterator of its chunks when `params.stream`.

        Raises ContextLengthExceeded when the prompt is too long, ValueError when the request is wrong, and
        RuntimeError when the engine fails; before the first chunk, if the engine refuses the request.
        """
        self._require_model(params.model)
        if params.tools and not self._knows_tools:
            self._warn_about_tools()
        body = chat_body(
            params, default_max_tokens=self.config.default_max_tokens, with_tools=self._knows_tools
        )
        stream = AnswerStream(await self._start("chat", body), chat_chunk)
        if params.stream:
            return stream
        async with aclosing(stream):
            return await fold_chat(stream)

    async def openai_completion(
        self, params: OpenAICompletionRequestWithExtraBody
    ) -> OpenAICompletion | AnswerStream[OpenAICompletion]:
        """The continuation of one prompt, or an iterator of its chunks when `params.stream`; raises as above."""
        self._require_model(params.model)
        body = completion_body(params, default_max_tokens=self.config.default_max_tokens)
        stream = AnswerStream(await self._start("completion", body), completion_chunk)
        if params.stream:
            return stream
        async with aclosing(stream):
            return await fold_completion(stream)

    async def openai_chat_completions_with_reasoning(
        self, params: OpenAIChatCompletionRequestWithExtraBody
    ) -> None:
        raise NotImplementedError("The llama.cpp provider does not return reasoning apart from the answer")

    async def openai_embeddings(self, params: OpenAIEmbeddingsRequestWithExtraBody) -> None:
        raise NotImplementedError("The llama.cpp provider generates text; configure an embedding provider")

    async def rerank(self, request: RerankRequest) -> None:
        raise NotImplementedError("The llama.cpp provider generates text; configure a rerank provider")

    def _load(self) -> None:
        began = time.perf_counter()
        header = read_header(weights_path(self.config.model))
        template = self._chat_template()
        self.model_id = self.config.model_id or header.path.name.removesuffix(".gguf")
        self._header = header
        self._knows_tools = re.search(r"\btools\b", template or header.chat_template or "") is not None
        self._engine = Engine.load(self.config, header, model_id=self.model_id, chat_template=template)
        logger.info(
            "Loaded model %s in %.1f s: %d requests at once, %d tokens each",
            self.model_id,
            time.perf_counter() - began,
            self.config.parallel,
            self._engine.context_size,
        )

    def _chat_template(self) -> str | None:
        if self.config.chat_template is None:
            return None
        path = weights_path(self.config.chat_template)
        try:
            return path.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise StartupError(f"Chat template {path} cannot be read: {error}") from error

    async def _start(self, kind: Kind, body: bytes) -> Generation:
        if self._engine is None:
            raise RuntimeError("The model is not loaded")
        generation = self._engine.start(kind, body)
        await generation.started()
        return generation

    def _require_model(self, name: str | None) -> None:
        if name != self.model_id:
            raise ModelNotFoundError(str(name))

    def _warn_about_tools(self) -> None:
        if not self._warned_about_tools:
            self._warned_about_tools = True
            logger.warning("Model %s has no tools in its chat template: tools are left out", self.model_id)
