"""One collection: documents, and the request handlers that search them."""

import math
import re
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

from tests.solr_server.corpus import Document
from tests.solr_server.lucene import LuceneSyntaxError, Matches, parse, parse_boosted

type Parameters = Mapping[str, list[str]]
type Scores = dict[int, float]

HANDLERS = ("hybrid-search", "semantic-search", "select")
_TEXT_FIELDS = {"title": 2.0, "chunk": 1.0}
_KNN = re.compile(r"\{!knn f=(?P<field>\w+) topK=(?P<count>\d+)\}\[(?P<vector>[^\]]*)\]")
_RERANK = re.compile(
    r"\{!rerank reRankQuery=\$(?P<query>\w+) reRankDocs=(?P<documents>\d+) reRankWeight=(?P<weight>[\d.]+)\}"
)


class Refused(Exception):
    """Solr answers 400; the message is its own."""


class SolrCollection:
    def __init__(self, documents: Sequence[Document]) -> None:
        self.documents = list(documents)
        self.fields = frozenset(name for document in documents for name in document)

    def answer(self, handler: str, parameters: Parameters) -> dict[str, Any]:
        """The JSON of Solr's answer. Raises Refused."""
        try:
            scores = getattr(self, f"_{handler.replace('-', '_')}")(parameters)
        except LuceneSyntaxError as error:
            raise Refused(f"org.apache.solr.search.SyntaxError: {error}") from error
        rows = int(_one(parameters, "rows") or 10)
        names = (_one(parameters, "fl") or "*").split(",")
        best = sorted(scores, key=lambda at: (-scores[at], at))
        return {
            "responseHeader": {"status": 0, "QTime": 1},
            "response": {
                "numFound": len(best),
                "start": 0,
                "numFoundExact": True,
                "docs": [self._shown(at, scores[at], names) for at in best[:rows]],
            },
        }

    def _select(self, parameters: Parameters) -> Scores:
        query = parse(_required(parameters, "q"), self.fields)
        return {at: 1.0 for at in self._allowed(parameters) if query(self.documents[at])}

    def _semantic_search(self, parameters: Parameters) -> Scores:
        return self._nearest(_required(parameters, "q"), self._allowed(parameters))

    def _hybrid_search(self, parameters: Parameters) -> Scores:
        query = _required(parameters, "q")
        if query.startswith("{!"):
            raise Refused("a query of another kind in q")
        allowed = self._allowed(parameters)
        scores = self._words(re.sub(r"\\(.)", r"\1", query), allowed)
        for text in parameters.get("bq", []):
            wanted, boost = parse_boosted(text, self.fields)
            scores = {at: score + boost * wanted(self.documents[at]) for at, score in scores.items()}
        rerank = _one(parameters, "rq")
        if rerank is None:
            return scores
        form = _RERANK.fullmatch(rerank)
        if form is None:
            raise Refused(f"not understood: rq={rerank}")
        near = self._nearest(_required(parameters, form["query"]), range(len(self.documents)))
        best = sorted(scores, key=lambda at: (-scores[at], at))[: int(form["documents"])]
        return scores | {at: scores[at] + float(form["weight"]) * near.get(at, 0.0) for at in best}

    def _allowed(self, parameters: Parameters) -> list[int]:
        filters: list[Matches] = []
        for text in parameters.get("fq", []):
            if text.lstrip().startswith("{!"):
                raise Refused("a query of another kind in fq")
            filters.append(parse(text, self.fields))
        return [
            at for at, document in enumerate(self.documents) if all(matches(document) for matches in filters)
        ]

    def _words(self, query: str, allowed: Sequence[int]) -> Scores:
        """A sum over the words of the question, rarer ones counting more."""
        wanted = set(re.findall(r"\w+", query.lower()))
        counts: list[dict[str, float]] = []
        for document in self.documents:
            words: defaultdict[str, float] = defaultdict(float)
            for field, weight in _TEXT_FIELDS.items():
                for word in re.findall(r"\w+", str(document.get(field, "")).lower()):
                    words[word] += weight
            counts.append(words)
        frequency = Counter(word for words in counts for word in words)
        scores: Scores = {}
        for at in allowed:
            score = sum(
                math.log(1 + len(self.documents) / frequency[word])
                * counts[at][word]
                / (counts[at][word] + 1)
                for word in wanted
                if word in counts[at]
            )
            if score:
                scores[at] = score
        return scores

    def _nearest(self, query: str, allowed: Sequence[int]) -> Scores:
        form = _KNN.fullmatch(query)
        if form is None:
            raise Refused(f"not understood: {query[:80]}")
        vector = [float(value) for value in form["vector"].split(",")]
        scores: Scores = {}
        for at in allowed:
            stored = self.documents[at].get(form["field"])
            if stored is None:
                continue
            if len(stored) != len(vector):
                raise Refused(f"incorrect vector dimension. The vector value has size {len(vector)}")
            scores[at] = (1 + _cosine(stored, vector)) / 2
        best = sorted(scores, key=lambda at: (-scores[at], at))[: int(form["count"])]
        return {at: scores[at] for at in best}

    def _shown(self, at: int, score: float, names: Sequence[str]) -> Document:
        document = self.documents[at]
        shown = dict(document) if "*" in names else {key: document[key] for key in names if key in document}
        return shown | ({"score": score} if "score" in names else {})


def _one(parameters: Parameters, name: str) -> str | None:
    values = parameters.get(name)
    return values[0] if values else None


def _required(parameters: Parameters, name: str) -> str:
    value = _one(parameters, name)
    if value is None:
        raise Refused(f"missing parameter {name}")
    return value


def _cosine(first: Sequence[float], second: Sequence[float]) -> float:
    lengths = math.hypot(*first) * math.hypot(*second)
    return math.fsum(a * b for a, b in zip(first, second, strict=True)) / lengths if lengths else 0.0
