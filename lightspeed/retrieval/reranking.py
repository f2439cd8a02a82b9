"""A second look at what was found: a cross-encoder reads the question and each passage together."""

import logging
import math
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Self

from anyio import CapacityLimiter, to_thread

from lightspeed.configuration.rag import OKP
from lightspeed.errors import StartupError
from lightspeed.retrieval.references import Chunk
from lightspeed.stack.weights import PACKAGE_PREFIX, weights_path

logger = logging.getLogger(__name__)

type Pairs = Sequence[tuple[str, str]]
type ScorePairs = Callable[[Pairs], Sequence[float]]

_CROSS_ENCODER_PART = 0.3
_BOOST_OF_OWN = 1.2
_BATCH = 16
_CALLS_AT_ONCE = 1  # torch uses all cores for one call
_TRUE = ("1", "ON", "YES", "TRUE")


def combined(chunks: Sequence[Chunk], relevance: Sequence[float], keep: int) -> list[Chunk]:
    """Chunks by the cross-encoder's relevance and their own scores together, best first, at most `keep`.

    Both are spread over 0 to 1 and weigh 3 to 7. What users brought themselves, all but the portal's, counts 1.2 times.
    A chunk without a score counts as the lowest.
    """
    known = [chunk.score for chunk in chunks if chunk.score is not None]
    lowest = min(known, default=0.0)
    own = _spread([lowest if chunk.score is None else chunk.score for chunk in chunks])
    scored = [
        replace(chunk, score=_CROSS_ENCODER_PART * read + (1 - _CROSS_ENCODER_PART) * before)
        for chunk, read, before in zip(chunks, _spread(relevance), own, strict=True)
    ]
    return boosted(_sorted(scored), keep)


def boosted(chunks: Sequence[Chunk], keep: int) -> list[Chunk]:
    """Chunks by their scores, all but the portal's 1.2 times as high; those without a score come last."""
    return _sorted(
        [
            chunk
            if chunk.source == OKP or chunk.score is None
            else replace(chunk, score=chunk.score * _BOOST_OF_OWN)
            for chunk in chunks
        ]
    )[:keep]


class CrossEncoderReranker:
    """Orders chunks by how well they answer a question.

    `load` makes one from a model. `score_pairs` runs in a worker thread and returns a number for each pair of question
    and passage; without it, or when it fails, chunks keep their order but for the boost.
    """

    def __init__(self, score_pairs: ScorePairs | None) -> None:
        self._score_pairs = score_pairs
        self._limiter = CapacityLimiter(_CALLS_AT_ONCE)
        self._failing = False

    @classmethod
    async def load(cls, model: str, environment: Mapping[str, str] = os.environ) -> Self:
        """Load `model`, which takes seconds. One that cannot be loaded is logged, and nothing is reranked.

        `model` is a directory in Hugging Face's layout, `package:<name>/<folder>`, or a name in Hugging Face's cache;
        it is downloaded only if the environment sets HF_HUB_OFFLINE to 0.
        """
        try:
            return cls(await to_thread.run_sync(_load, model, environment))
        except StartupError as error:
            logger.warning("%s Search goes on without reranking.", error)
            return cls(None)

    @property
    def ready(self) -> bool:
        return self._score_pairs is not None

    async def rerank(self, query: str, chunks: Sequence[Chunk], keep: int) -> list[Chunk]:
        """The best `keep` chunks, with their new scores."""
        relevance = await self._relevance(query, chunks) if chunks else None
        return boosted(chunks, keep) if relevance is None else combined(chunks, relevance, keep)

    async def _relevance(self, query: str, chunks: Sequence[Chunk]) -> list[float] | None:
        if self._score_pairs is None:
            return None
        pairs = [(query, chunk.content) for chunk in chunks]
        try:
            scores = await to_thread.run_sync(self._score_pairs, pairs, limiter=self._limiter)
            relevance = _checked(scores, len(pairs))
        except Exception:
            if not self._failing:
                logger.warning("Passages are not reranked, because the cross-encoder failed", exc_info=True)
            self._failing = True
            return None
        self._failing = False
        return relevance


def _checked(scores: Sequence[float], count: int) -> list[float]:
    relevance = [float(score) for score in scores]
    if len(relevance) != count or not all(math.isfinite(score) for score in relevance):
        raise ValueError("The cross-encoder did not give one finite number for each passage")
    return relevance


def _spread(values: Sequence[float]) -> list[float]:
    """Values moved to reach from 0 to 1; equal ones are 0.5, a single one is 1."""
    if len(values) == 1:
        return [1.0]
    low, high = min(values, default=0.0), max(values, default=0.0)
    if low == high:
        return [0.5] * len(values)
    return [(value - low) / (high - low) for value in values]


def _sorted(chunks: Sequence[Chunk]) -> list[Chunk]:
    return sorted(chunks, key=lambda chunk: -math.inf if chunk.score is None else chunk.score, reverse=True)


def _load(model: str, environment: Mapping[str, str]) -> ScorePairs:
    """Read the model and try it once. Raises StartupError that says what to do."""
    offline = environment.get("HF_HUB_OFFLINE", "1").strip().upper() in _TRUE
    place = _place(model)
    try:
        from sentence_transformers import CrossEncoder
    except ImportError as error:
        raise StartupError(
            "Reranker: the package sentence-transformers is not installed;"
            " install lightspeed[sentence-transformers] or set reranker.enabled to false."
        ) from error
    try:
        encoder = CrossEncoder(place, local_files_only=offline)
    except Exception as error:
        raise StartupError(_not_loaded(model, place, offline, error)) from error
    if encoder.num_labels != 1:
        raise StartupError(
            f"Reranker: '{model}' gives {encoder.num_labels} numbers for a passage, not one;"
            " set reranker.model to a cross-encoder for ranking."
        )

    def score_pairs(pairs: Pairs) -> Sequence[float]:
        scores: Sequence[float] = encoder.predict(
            list(pairs), batch_size=_BATCH, show_progress_bar=False
        ).tolist()
        return scores

    try:
        score_pairs([("question", "passage")])
    except Exception as error:
        raise StartupError(_not_loaded(model, place, offline, error)) from error
    return score_pairs


def _place(model: str) -> str:
    """A directory, or the name as it is."""
    if model.startswith(PACKAGE_PREFIX):
        return str(weights_path(model))
    try:
        directory = Path(model).expanduser()
    except RuntimeError:  # the home directory of somebody unknown
        return model
    return str(directory) if directory.is_dir() else model


def _not_loaded(model: str, place: str, offline: bool, error: Exception) -> str:
    if not offline or Path(place).is_dir():
        reason = next(iter(str(error).strip().splitlines()), "")
        return f"Reranker: '{model}' cannot be loaded ({type(error).__name__}: {reason[:200]}); correct reranker.model."
    return (
        f"Reranker: '{model}' is neither a directory nor in the cache of Hugging Face, and nothing is downloaded;"
        " set reranker.model to the directory of a cross-encoder, or start once with HF_HUB_OFFLINE=0"
        " and TRANSFORMERS_OFFLINE=0."
    )
