"""What a search has found before it is given to the model, and one order for what several stores have found."""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import groupby

from lightspeed.retrieval.references import Chunk

_SPACE = re.compile(r"\s+")


@dataclass(frozen=True, slots=True)
class Hit:
    """A passage of a store. Scores of one `scale` compare; `weight` is that of the store, not yet in the score."""

    chunk: Chunk
    scale: str
    weight: float = 1.0
    passage_id: str = ""

    @property
    def score(self) -> float:
        """The weighted score."""
        return (self.chunk.score or 0.0) * self.weight

    def scored(self, score: float) -> "Hit":
        chunk = Chunk(self.chunk.content, self.chunk.source, score, self.chunk.attributes)
        return Hit(chunk, self.scale, 1.0, self.passage_id)


def fused(hits: Iterable[Hit]) -> list[Hit]:
    """All hits in one order, best first, each text once, with scores that hold the weights of their stores.

    Where the scores of all hits compare, they decide. Scores of different embedding models or engines do not: then a
    hit counts by its rank among those that it compares to, as weight / rank. So steep a fall lets a weight prefer a
    store without shutting the others out: with 61 / (60 + rank) a weight of 1.2 would put 12 hits before any other's.
    """
    found = list(hits)
    if len({hit.scale for hit in found}) > 1:
        found.sort(key=lambda hit: (hit.scale, -(hit.chunk.score or 0.0)))
        found = [
            hit.scored(hit.weight / rank)
            for _, group in groupby(found, key=lambda hit: hit.scale)
            for rank, hit in enumerate(group, 1)
        ]
    found.sort(key=lambda hit: hit.score, reverse=True)
    return distinct([hit.scored(hit.score) for hit in found])


def distinct(hits: Sequence[Hit]) -> list[Hit]:
    """The first of each text; white space does not count."""
    first: dict[str, Hit] = {}
    for hit in hits:
        first.setdefault(_SPACE.sub(" ", hit.chunk.content).strip(), hit)
    return list(first.values())
