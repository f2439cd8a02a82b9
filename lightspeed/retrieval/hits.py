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


def fused(hits: Iterable[Hit], *, to_rerank: bool = False) -> list[Hit]:
    """All hits in one order, best first, each text once, with scores that hold the weights of their stores.

    Where the scores of all hits compare, they decide. Scores of different embedding models or engines do not: then a
    hit counts by its rank among those that it compares to, as weight / rank. So steep a fall lets a weight prefer a
    store without shutting the others out: with 61 / (60 + rank) a weight of 1.2 would put 13 hits before any other's.
    Where a reranker weighs the scores against its own, they fall evenly instead, or it could not move the first.
    Weights within one scale order its hits; the smallest of them is the weight of the whole scale.
    """
    found = list(hits)
    if len({hit.scale for hit in found}) > 1:
        found.sort(key=lambda hit: (hit.scale, -hit.score))
        groups = [list(group) for _, group in groupby(found, key=lambda hit: hit.scale)]
        found = [hit for group in groups for hit in _by_rank(group, to_rerank)]
    found.sort(key=lambda hit: hit.score, reverse=True)
    return distinct([hit.scored(hit.score) for hit in found])


def _by_rank(group: Sequence[Hit], evenly: bool) -> list[Hit]:
    """Hits of one scale, best first, with scores by their rank."""
    weight = min(hit.weight for hit in group)
    return [
        hit.scored(weight * (1 - rank / len(group)) if evenly else weight / (rank + 1))
        for rank, hit in enumerate(group)
    ]


def distinct(hits: Sequence[Hit]) -> list[Hit]:
    """The first of each text; white space does not count."""
    first: dict[str, Hit] = {}
    for hit in hits:
        first.setdefault(_SPACE.sub(" ", hit.chunk.content).strip(), hit)
    return list(first.values())
