"""What a search in the portal finds."""

from dataclasses import dataclass, field

from lightspeed.retrieval.okp.request import Mode
from lightspeed.stack.passages import Passage

_MIDDLE_OF_TEXT_SCORES = 10.0


@dataclass(frozen=True, slots=True)
class PortalPassage(Passage):
    """A text of the portal, with its neighbours where there are any.

    `score` lies between 0 and 1 as `bounded_score` says, `solr_score` is what Solr gave, `rank` counts from 1.
    """

    solr_score: float = field(kw_only=True)
    rank: int = field(kw_only=True)


def bounded_score(solr_score: float, mode: Mode) -> float:
    """Solr's score as a number between 0 and 1, in the same order.

    A semantic score is Solr's (1 + cosine) / 2 and is kept. A text score s has no upper end: s / (s + 10), so that 10,
    which is a middling match, becomes 0.5. Scores of different modes or stores are better compared by rank.
    """
    score = max(0.0, solr_score)
    return min(1.0, score) if mode == "semantic" else score / (score + _MIDDLE_OF_TEXT_SCORES)
