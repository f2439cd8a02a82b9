"""What is looked for in knowledge stores."""

from collections.abc import Sequence
from typing import Protocol

import numpy as np
import numpy.typing as npt
from anyio import Lock

Vectors = npt.NDArray[np.float32]


class TextEmbedder(Protocol):
    async def embed(self, model: str, texts: Sequence[str]) -> Vectors:
        """Vectors of texts x dimension, in the order of the texts."""
        ...


class Question:
    """What is looked for. It is embedded at most once for each model, however many stores are searched."""

    def __init__(self, text: str, embeddings: TextEmbedder) -> None:
        self.text = text
        self._embeddings = embeddings
        self._vectors: dict[str, Vectors] = {}
        self._lock = Lock()

    async def vector(self, model: str) -> Vectors:
        """One vector. The model is named as in the stack."""
        async with self._lock:
            if model not in self._vectors:
                self._vectors[model] = (await self._embeddings.embed(model, [self.text]))[0]
            return self._vectors[model]
