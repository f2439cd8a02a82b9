"""What a store holds: chunks of documents, and what a search finds."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

Scalar = str | int | float | bool
Vectors = npt.NDArray[np.float32]
Positions = npt.NDArray[np.int64]
Scores = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class NewChunk:
    """A chunk to be stored.

    `metadata` may hold anything; see `metadata.py` for what becomes of values that are no scalars.
    """

    id: str
    content: str
    document_id: str | None = None
    file_id: str | None = None
    metadata: Mapping[str, Any] = field(default_factory=dict)
    token_count: int | None = None


@dataclass(frozen=True, slots=True)
class Chunk:
    """A stored chunk. `position` counts up with each insert and is never used again."""

    position: int
    id: str
    content: str
    document_id: str | None
    file_id: str | None
    metadata: dict[str, Scalar]
    token_count: int | None


@dataclass(frozen=True, slots=True)
class ScoredChunk:
    """`score` lies between 0 and 1, the best is the highest."""

    chunk: Chunk
    score: float


@dataclass(frozen=True, slots=True)
class Ranking:
    """Positions with their scores (0 to 1), best first, each position once."""

    positions: Positions
    scores: Scores

    def __len__(self) -> int:
        return len(self.positions)

    def only(self, positions: Positions) -> "Ranking":
        """What is at some of the positions."""
        chosen = np.isin(self.positions, positions)
        return Ranking(self.positions[chosen], self.scores[chosen])

    def extended(self, positions: Positions, scores: Scores) -> "Ranking":
        """One ranking with others that are not in this one."""
        return ranking(
            np.concatenate([self.positions, positions]),
            np.concatenate([self.scores, scores]),
            len(self) + len(positions),
        )


def ranking(positions: Positions, scores: Scores, limit: int) -> Ranking:
    """The best `limit`; among equal scores the older position comes first."""
    best = np.lexsort((positions, -scores))[:limit]
    return Ranking(positions[best], scores[best])
