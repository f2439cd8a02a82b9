"""Two rankings of the same chunks made one."""

from dataclasses import dataclass
from typing import Literal

import numpy as np

from lightspeed.stack.providers.faiss_sqlite.chunks import Positions, Ranking, Scores, ranking

FusionMethod = Literal["linear", "minmax", "rrf"]


@dataclass(frozen=True, slots=True)
class Fusion:
    """How hybrid search weighs a chunk; every method gives scores from 0 to 1.

    - `linear`: `alpha` x cosine + (1 - `alpha`) x keyword score. Scores of different questions and stores
      compare, so that a threshold means something.
    - `minmax`: the same after both were stretched to 0..1 among the chunks found.
    - `rrf`: reciprocal rank fusion with the constant `k`; 1 is first in both.

    The defaults were chosen on one half of two sets of questions, see tests/bench/knowledge.py.
    """

    method: FusionMethod = "linear"
    alpha: float = 0.6
    k: int = 60

    def __post_init__(self) -> None:
        if self.method not in ("linear", "minmax", "rrf"):
            raise ValueError(f"The fusion is linear, minmax or rrf, not {self.method!r}.")
        if not 0 <= self.alpha <= 1:
            raise ValueError(f"alpha lies between 0 and 1, not at {self.alpha}.")
        if self.k < 1:
            raise ValueError(f"k is at least 1, not {self.k}.")


def fuse(vector: Ranking, keyword: Ranking, fusion: Fusion, limit: int) -> Ranking:
    """The best `limit` of both; a chunk that a ranking lacks gets nothing from it.

    For `linear` both rankings should hold the same chunks.
    """
    positions = np.union1d(vector.positions, keyword.positions)
    by_vector, by_keyword = (
        _spread(vector, _weights(vector, fusion), positions),
        _spread(keyword, _weights(keyword, fusion), positions),
    )
    alpha = 0.5 if fusion.method == "rrf" else fusion.alpha
    return ranking(positions, np.clip(alpha * by_vector + (1 - alpha) * by_keyword, 0.0, 1.0), limit)


def _weights(found: Ranking, fusion: Fusion) -> Scores:
    if fusion.method == "rrf":
        return (fusion.k + 1) / (fusion.k + 1 + np.arange(len(found), dtype=np.float64))
    if fusion.method == "minmax" and len(found):
        lowest, highest = found.scores.min(), found.scores.max()
        return (found.scores - lowest) / (highest - lowest) if highest > lowest else np.ones(len(found))
    return found.scores


def _spread(found: Ranking, weights: Scores, positions: Positions) -> Scores:
    """The weights in the order of `positions`, 0 for what was not found."""
    spread = np.zeros(len(positions))
    spread[np.searchsorted(positions, found.positions)] = weights
    return spread
