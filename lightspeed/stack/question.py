"""What is looked for in knowledge stores."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from functools import partial

import numpy as np
import numpy.typing as npt

from lightspeed.stack.shared_call import SharedCall

Vectors = npt.NDArray[np.float32]

_EMBEDDED_AT_ONCE = 256


class TextEmbedder(ABC):
    """Embedding models, which are given a bounded number of texts at once."""

    async def embed(
        self, model: str, texts: Sequence[str], embedded: Callable[[int], None] = lambda count: None
    ) -> Vectors:
        """Vectors of texts x dimension, in the order of the texts. Raises what the models raise.

        `embedded` is told how many more are done.
        """
        parts: list[Vectors] = []
        for start in range(0, len(texts), _EMBEDDED_AT_ONCE):
            part = texts[start : start + _EMBEDDED_AT_ONCE]
            parts.append(await self._embed(model, part))
            embedded(len(part))
        return np.concatenate(parts) if parts else np.empty((0, 0), np.float32)

    @abstractmethod
    async def _embed(self, model: str, texts: Sequence[str]) -> Vectors: ...


class Question:
    """What is looked for. It is embedded at most once for each model, however many stores are searched."""

    def __init__(self, text: str, embeddings: TextEmbedder) -> None:
        self.text = text
        self._embeddings = embeddings
        self._vectors: dict[str, Vectors] = {}
        self._calls: dict[str, SharedCall[Vectors]] = {}

    async def vector(self, model: str) -> Vectors:
        """One vector. The model is named as in the stack.

        One who gives up does not end the work: a model that is being loaded is there for the next question.
        """
        if model not in self._vectors:
            if model not in self._calls:
                self._calls[model] = SharedCall(partial(self._embeddings.embed, model, [self.text]))
            self._vectors[model] = (await self._calls[model]())[0]
        return self._vectors[model]
