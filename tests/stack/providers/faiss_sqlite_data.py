"""Chunks and vectors for the tests and the benchmark of the FAISS and SQLite store."""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from lightspeed.stack.providers.faiss_sqlite.chunks import NewChunk, ScoredChunk, Vectors

_CHUNKS_OF_A_DOCUMENT = 20


def unit(*values: float) -> Vectors:
    """A vector of length 1 in the direction of the values."""
    vector = np.array(values, np.float32)
    return (vector / np.linalg.norm(vector)).astype(np.float32)


def chunk(name: str, content: str = "text", **metadata: Any) -> NewChunk:
    return NewChunk(name, content, metadata.get("document_id"), metadata.get("file_id"), metadata)


def names(found: Sequence[ScoredChunk]) -> list[str]:
    return [one.chunk.id for one in found]


class ClusteredVectors:
    """Vectors that lie as those of texts do: topics, subjects, documents of 20 chunks; reproducible by the seed.

    The variance falls from dimension to dimension, and subjects are of very different size.
    """

    def __init__(self, count: int, dimension: int = 384, seed: int = 0) -> None:
        self._random = np.random.default_rng(seed)
        self._spread = (1 / np.sqrt(1 + np.arange(dimension) / 12)).astype(np.float32)
        self.count = count
        topics = self._noise(200)
        subjects = topics[self._random.integers(0, 200, 8000)] + 0.8 * self._noise(8000)
        documents = max(count // _CHUNKS_OF_A_DOCUMENT, 1)
        self._documents = subjects[self._random.zipf(1.3, documents) % 8000] + 0.7 * self._noise(documents)

    def batches(self, size: int) -> Iterator[Vectors]:
        for start in range(0, self.count, size):
            rows = np.arange(start, min(start + size, self.count)) // _CHUNKS_OF_A_DOCUMENT
            yield _normalized(self._documents[rows % len(self._documents)] + 0.6 * self._noise(len(rows)))

    def queries(self, count: int) -> Vectors:
        """Farther from the chunks of a document than those from each other."""
        rows = self._random.integers(0, len(self._documents), count)
        return _normalized(self._documents[rows] + 0.9 * self._noise(count))

    def _noise(self, count: int) -> Vectors:
        return self._random.standard_normal((count, len(self._spread)), dtype=np.float32) * self._spread


def _normalized(vectors: Vectors) -> Vectors:
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)
