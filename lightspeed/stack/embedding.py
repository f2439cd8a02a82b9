"""Texts to vectors, by the embedding models of the stack."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from llama_stack_api import OpenAIEmbeddingsRequestWithExtraBody

from lightspeed.stack.question import Vectors

_EMBEDDED_AT_ONCE = 256


class Embeddings:
    """Asks the stack's inference for vectors."""

    def __init__(self, inference: Any) -> None:
        self._inference = inference

    async def embed(self, model: str, texts: Sequence[str]) -> Vectors:
        """Vectors of texts x dimension, in the order of the texts."""
        parts = [
            await self._embed(model, texts[start : start + _EMBEDDED_AT_ONCE])
            for start in range(0, len(texts), _EMBEDDED_AT_ONCE)
        ]
        return np.concatenate(parts) if parts else np.empty((0, 0), np.float32)

    async def _embed(self, model: str, texts: Sequence[str]) -> Vectors:
        request = OpenAIEmbeddingsRequestWithExtraBody(model=model, input=list(texts))
        answer = await self._inference.openai_embeddings(request)
        return np.array([item.embedding for item in answer.data], np.float32)
