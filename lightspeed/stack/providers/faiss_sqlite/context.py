"""A short text by a model for each chunk, which says where in its document the chunk stands."""

import logging
from collections.abc import Mapping, Sequence
from typing import Any

from anyio import CapacityLimiter, create_task_group, fail_after
from llama_stack_api import (
    OpenAIChatCompletionRequestWithExtraBody,
    OpenAISystemMessageParam,
    OpenAIUserMessageParam,
)

logger = logging.getLogger(__name__)

_DOCUMENT, _CHUNK = "{{WHOLE_DOCUMENT}}", "{{CHUNK_CONTENT}}"
_MOST_TOKENS = 256
_CHARACTERS_OF_A_TOKEN = 4
_SECONDS, _AT_ONCE, _LARGEST_DOCUMENT = 120, 3, 100_000


class ContextWriter:
    """Asks the stack's inference."""

    def __init__(self, inference: Any, vector_stores_config: Any) -> None:
        """`vector_stores_config`: the section `vector_stores` of run.yaml, or None."""
        self._inference = inference
        self._parameters = getattr(vector_stores_config, "contextual_retrieval_params", None)

    @property
    def default_model(self) -> str | None:
        """The model where a strategy names none."""
        model = getattr(self._parameters, "model", None)
        return f"{model.provider_id}/{model.model_id}" if model is not None else None

    async def contexts(self, document: str, chunks: Sequence[str], strategy: Mapping[str, Any]) -> list[str]:
        """One text for each chunk, "" where the model says nothing.

        Raises ValueError for a document that is too large, TimeoutError, and what the model's provider raises.
        """
        largest = getattr(self._parameters, "max_document_tokens", _LARGEST_DOCUMENT)
        if len(document) // _CHARACTERS_OF_A_TOKEN > largest:
            raise ValueError(
                f"The document has more than {largest} tokens, too many for contextual chunking."
            )
        model = strategy.get("model_id") or self.default_model
        seconds = strategy.get("timeout_seconds") or getattr(
            self._parameters, "default_timeout_seconds", _SECONDS
        )
        at_once = strategy.get("max_concurrency") or getattr(
            self._parameters, "default_max_concurrency", _AT_ONCE
        )
        # Providers keep what they have computed for equal beginnings: the document comes first.
        before, after = str(strategy["context_prompt"]).split(_CHUNK, 1)
        before = before.replace(_DOCUMENT, document).rstrip()
        limiter = CapacityLimiter(int(at_once or _AT_ONCE))
        written = [""] * len(chunks)

        async def write(place: int) -> None:
            async with limiter:
                request = OpenAIChatCompletionRequestWithExtraBody(
                    model=model,
                    messages=[
                        OpenAISystemMessageParam(role="system", content=before),
                        OpenAIUserMessageParam(role="user", content=chunks[place] + after),
                    ],
                    stream=False,
                    temperature=0.0,
                    max_tokens=_MOST_TOKENS,
                )
                with fail_after(seconds):
                    answer = await self._inference.openai_chat_completion(request)
                content = answer.choices[0].message.content if answer.choices else None
                written[place] = content.strip() if isinstance(content, str) else ""

        try:
            async with create_task_group() as group:
                for place in range(len(chunks)):
                    group.start_soon(write, place)
        except ExceptionGroup as failures:
            raise failures.exceptions[0] from None
        silent = written.count("")
        if silent:
            logger.warning("Model %s gave no context for %d of %d chunks", model, silent, len(chunks))
        return written
