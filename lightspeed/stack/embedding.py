"""Texts to vectors, by the embedding models of the stack."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from llama_stack_api import OpenAIEmbeddingsRequestWithExtraBody

from lightspeed.stack.question import TextEmbedder, Vectors

TokenCounter = tuple[Callable[[str], int], int]
"""What counts the tokens of a text as an embedding model does, and that model's limit."""


class Embeddings(TextEmbedder):
    """Asks the stack's inference for vectors."""

    def __init__(self, inference: Any) -> None:
        self._inference = inference

    async def _embed(self, model: str, texts: Sequence[str]) -> Vectors:
        request = OpenAIEmbeddingsRequestWithExtraBody(model=model, input=list(texts))
        answer = await self._inference.openai_embeddings(request)
        return np.array([item.embedding for item in answer.data], np.float32)


async def token_counter(inference: Any, model: str) -> TokenCounter | None:
    """None where it cannot be known how the model counts."""
    table = getattr(inference, "routing_table", None)
    if table is None:
        return None
    registered = await table.get_object_by_identifier("model", model)
    provider = table.impls_by_provider_id.get(registered.provider_id) if registered else None
    counter = getattr(provider, "token_counter", None)
    return counter(registered.provider_resource_id) if counter else None
