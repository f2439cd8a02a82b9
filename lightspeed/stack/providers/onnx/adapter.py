"""The stack's inference provider over the embedding models."""

import base64
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, NoReturn

import numpy as np
from anyio import CapacityLimiter, create_task_group, to_thread
from llama_stack_api import (
    HealthResponse,
    HealthStatus,
    InferenceProvider,
    Model,
    ModelsProtocolPrivate,
    ModelType,
    OpenAIEmbeddingData,
    OpenAIEmbeddingsRequestWithExtraBody,
    OpenAIEmbeddingsResponse,
    OpenAIEmbeddingUsage,
    validate_embeddings_input_is_text,
)

from lightspeed.stack.cores import usable_cores
from lightspeed.stack.providers.onnx.config import OnnxConfig
from lightspeed.stack.providers.onnx.embedder import Embedder, batches, load_embedder
from lightspeed.stack.providers.onnx.pooling import Vectors

_CHARACTERS_OF_A_TOKEN = 4


class OnnxEmbeddings(InferenceProvider, ModelsProtocolPrivate):  # type: ignore[misc]
    """Embeddings from ONNX files.

    Requests of about one batch, such as the query of a search, have places of their own, so that none of them
    waits for an ingest. A large request takes its place anew for each batch, so that large requests take turns.
    """

    __provider_id__: str

    def __init__(self, config: OnnxConfig) -> None:
        self.config = config
        self._embedders: dict[str, Embedder] = {}
        self._workers = config.workers or 1
        self._bulk = CapacityLimiter(self._workers)
        self._interactive = CapacityLimiter(self._workers + 1)
        self._listed = False

    async def initialize(self) -> None:
        """Load every model. Raises StartupError with one line that names the path."""
        if self.config.workers is None:
            self._workers = max(1, await to_thread.run_sync(usable_cores) - 1)
            self._bulk.total_tokens = self._workers
            self._interactive.total_tokens = self._workers + 1
        threads = self.config.threads or 1
        for name, model in self.config.models.items():
            self._embedders[name] = await to_thread.run_sync(partial(load_embedder, model, threads=threads))

    async def shutdown(self) -> None:
        self._embedders.clear()

    async def health(self) -> HealthResponse:
        if len(self._embedders) == len(self.config.models):
            return HealthResponse(status=HealthStatus.OK)
        return HealthResponse(status=HealthStatus.ERROR, message="The embedding models are not loaded.")

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
                model_type=ModelType.embedding,
                metadata={"embedding_dimension": embedder.dimension, "context_length": embedder.max_length},
            )
            for name, embedder in self._embedders.items()
        ]

    async def register_model(self, model: Model) -> Model:
        """Raises ValueError when the model is not configured here or has another type or dimension."""
        embedder = self._embedder(model.provider_resource_id)
        if model.model_type != ModelType.embedding:
            raise ValueError(
                f"Model '{model.provider_resource_id}' is an embedding model, not '{model.model_type}'."
            )
        dimension = (model.metadata or {}).get("embedding_dimension", embedder.dimension)
        if str(dimension) != str(embedder.dimension):
            raise ValueError(
                f"Model '{model.provider_resource_id}' makes vectors of {embedder.dimension} dimensions, not {dimension}."
            )
        return model

    async def unregister_model(self, model_id: str) -> None:
        """Nothing to free: the models stay loaded as long as they are configured."""

    async def embed(self, model: str, texts: Sequence[str]) -> Vectors:
        """Float32 vectors of texts x dimension, in the order of the texts; length 1 if the model says so.

        Texts longer than the model's limit are cut. Raises ValueError for a model that is not configured.
        """
        vectors, _ = await self._embed(self._embedder(model), texts)
        return vectors

    def token_counter(self, model: str) -> tuple[Callable[[str], int], int]:
        """What counts the tokens of a text, for use in worker threads, and the model's limit."""
        embedder = self._embedder(model)
        return embedder.count_tokens, embedder.max_length

    async def openai_embeddings(
        self, params: OpenAIEmbeddingsRequestWithExtraBody
    ) -> OpenAIEmbeddingsResponse:
        """Raises ValueError for no input, tokens as input, or dimensions that the model does not have."""
        embedder = self._embedder(params.model)
        texts = [params.input] if isinstance(params.input, str) else params.input
        if not texts:
            raise ValueError("The input for embeddings must hold at least one text.")
        validate_embeddings_input_is_text(params)
        if params.dimensions not in {None, embedder.dimension}:
            raise ValueError(f"Model '{params.model}' makes vectors of {embedder.dimension} dimensions only.")
        vectors, tokens = await self._embed(embedder, texts)
        as_base64 = params.encoding_format == "base64"
        if len(texts) <= self.config.batch_size:
            data = _data(vectors, as_base64)
        else:
            data = await to_thread.run_sync(_data, vectors, as_base64, limiter=self._bulk)
        usage = OpenAIEmbeddingUsage(prompt_tokens=tokens, total_tokens=tokens)
        return OpenAIEmbeddingsResponse(data=data, model=params.model, usage=usage)

    async def openai_chat_completion(self, params: Any) -> NoReturn:
        raise NotImplementedError("The provider inline::onnx makes embeddings only, it does not chat.")

    async def openai_chat_completions_with_reasoning(self, params: Any) -> NoReturn:
        raise NotImplementedError("The provider inline::onnx makes embeddings only, it does not chat.")

    async def openai_completion(self, params: Any) -> NoReturn:
        raise NotImplementedError(
            "The provider inline::onnx makes embeddings only, it does not complete texts."
        )

    async def rerank(self, request: Any) -> NoReturn:
        raise NotImplementedError("The provider inline::onnx makes embeddings only, it does not rerank.")

    def _embedder(self, model: str) -> Embedder:
        try:
            return self._embedders[model]
        except KeyError:
            configured = ", ".join(self._embedders) or "none"
            raise ValueError(
                f"Embedding model '{model}' is not configured; configured: {configured}."
            ) from None

    def _lane(self, texts: Sequence[str]) -> CapacityLimiter:
        small = len(texts) <= self.config.batch_size and (
            sum(map(len, texts)) <= self.config.batch_tokens * _CHARACTERS_OF_A_TOKEN
        )
        return self._interactive if small else self._bulk

    async def _embed(self, embedder: Embedder, texts: Sequence[str]) -> tuple[Vectors, int]:
        """The vectors, and how many tokens were read for them."""
        lane = self._lane(texts)
        tokens = await to_thread.run_sync(embedder.tokenize, texts, limiter=lane)
        lengths = [len(ids) for ids in tokens]
        vectors = np.empty((len(texts), embedder.dimension), dtype=np.float32)
        waiting = batches(lengths, most_texts=self.config.batch_size, most_tokens=self.config.batch_tokens)

        async def work() -> None:
            for batch in waiting:
                chosen = [tokens[position] for position in batch]
                vectors[batch] = await to_thread.run_sync(embedder.vectors, chosen, limiter=lane)

        if lane is self._interactive:
            await work()
        else:
            try:
                async with create_task_group() as group:
                    for _ in range(self._workers):
                        group.start_soon(work)
            except ExceptionGroup as failures:
                raise failures.exceptions[0] from None
        return vectors, sum(lengths)


def _data(vectors: Vectors, as_base64: bool) -> list[OpenAIEmbeddingData]:
    # Built without validation: checking 384 floats one by one costs more than they do.
    if as_base64:
        rows: list[Any] = [base64.b64encode(row.astype("<f4").tobytes()).decode("ascii") for row in vectors]
    else:
        rows = vectors.tolist()
    return [
        OpenAIEmbeddingData.model_construct(object="embedding", embedding=row, index=index)
        for index, row in enumerate(rows)
    ]
