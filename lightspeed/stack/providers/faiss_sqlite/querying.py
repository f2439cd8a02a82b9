"""What a search asks for, read from the requests of the stack."""

import sys
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from llama_stack_api import OpenAISearchVectorStoreRequest

from lightspeed.stack.providers.faiss_sqlite.chunks import ScoredChunk
from lightspeed.stack.providers.faiss_sqlite.config import SearchMode
from lightspeed.stack.providers.faiss_sqlite.fusion import Fusion
from lightspeed.stack.providers.faiss_sqlite.store import ChunkStore

_MODES: dict[str, SearchMode] = {
    "vector": "vector",
    "semantic": "vector",
    "keyword": "keyword",
    "lexical": "keyword",
    "hybrid": "hybrid",
}
_USUAL_CHUNKS = 3
_USUAL_RESULTS = 10
_MOST_RESULTS = 10_000
_LARGEST_NUMBER = sys.float_info.max


@dataclass(frozen=True, slots=True)
class Search:
    """`dimensions`: of the vector that the embedding model shall make of the text; null: its own number."""

    text: str
    limit: int
    mode: SearchMode
    score_threshold: float = 0.0
    filters: dict[str, Any] | None = None
    fusion: Fusion | None = None
    dimensions: int | None = None

    def find(self, store: ChunkStore, vector: Any) -> list[ScoredChunk]:
        """Best first. `vector` may be None for keywords. Blocks. Raises ValueError for a wrong filter."""
        if self.mode == "keyword":
            return store.search_keyword(
                self.text, self.limit, filters=self.filters, score_threshold=self.score_threshold
            )
        if self.mode == "vector":
            return store.search_vector(
                vector, self.limit, filters=self.filters, score_threshold=self.score_threshold
            )
        return store.search_hybrid(
            self.text,
            vector,
            self.limit,
            filters=self.filters,
            score_threshold=self.score_threshold,
            fusion=self.fusion,
        )


def chunk_query(query: Any, params: Mapping[str, Any] | None, usual_mode: SearchMode) -> Search:
    """A query of `query_chunks`. Raises ValueError that names the parameter."""
    given = dict(params or {})
    limit = given.get("max_chunks") if given.get("max_chunks") is not None else given.get("k")
    reranker = given.get("reranker_params")
    if reranker is not None and not isinstance(reranker, Mapping):
        raise ValueError("reranker_params is an object.")
    dimensions = given.get("embedding_dimensions")
    return Search(
        text=_checked_text(text_of(query)),
        limit=_USUAL_CHUNKS if limit is None else _whole_number("max_chunks", limit),
        mode=_mode(given.get("mode"), usual_mode),
        score_threshold=_number("score_threshold", given.get("score_threshold"), 0.0),
        filters=filter_object(given.get("filters")),
        fusion=_fusion(given.get("reranker_type"), reranker or {}),
        dimensions=None if dimensions is None else _whole_number("embedding_dimensions", dimensions),
    )


def result_query(request: OpenAISearchVectorStoreRequest, usual_mode: SearchMode) -> Search:
    """A query of `openai_search_vector_store`. Raises ValueError that names the parameter."""
    query = request.query if isinstance(request.query, str) else " ".join(request.query)
    options = request.ranking_options
    limit = _USUAL_RESULTS if request.max_num_results is None else request.max_num_results
    # The request has a default of its own, which is not what the operator has chosen.
    mode = request.search_mode if "search_mode" in request.model_fields_set else None
    ranking: dict[str, Any] = {}
    if options is not None:
        ranking = {"alpha": options.alpha, "impact_factor": options.impact_factor, "weights": options.weights}
    return Search(
        text=_checked_text(query),
        limit=_whole_number("max_num_results", limit),
        mode=_mode(mode, usual_mode),
        score_threshold=(options.score_threshold or 0.0) if options is not None else 0.0,
        filters=filter_object(request.filters),
        fusion=_fusion(options.ranker if options is not None else None, ranking),
    )


def text_of(content: Any) -> str:
    """The text of what the stack calls interleaved content. Raises ValueError for images."""
    if isinstance(content, str):
        return content
    parts = content if isinstance(content, list) else [content]
    texts = [part if isinstance(part, str) else getattr(part, "text", None) for part in parts]
    if None in texts:
        raise ValueError("A vector store holds and finds text only, no images.")
    return "\n".join(str(text) for text in texts)


def filter_object(filters: Any) -> dict[str, Any] | None:
    """The filter as plain objects, which the stack may have parsed."""
    if not filters:
        return None
    if hasattr(filters, "model_dump"):
        filters = filters.model_dump()
    if not isinstance(filters, Mapping):
        raise ValueError("filters is an object with 'type'.")
    plain = dict(filters)
    if isinstance(plain.get("filters"), list):
        plain["filters"] = [
            part.model_dump() if hasattr(part, "model_dump") else part for part in plain["filters"]
        ]
    return plain


def _mode(mode: Any, usual: SearchMode) -> SearchMode:
    if mode is None:
        return usual
    if not isinstance(mode, str) or mode not in _MODES:
        raise ValueError(f"The mode of a search is one of {', '.join(_MODES)}, not {mode!r}.")
    return _MODES[mode]


def _fusion(ranker: Any, given: Mapping[str, Any]) -> Fusion | None:
    """None for the default. Names that OpenAI gives its own rankers mean the default, too."""
    if ranker is None or ranker in ("auto", "none") or str(ranker).startswith("default"):
        return None
    weights = given.get("weights") or {}
    if not isinstance(weights, Mapping):
        raise ValueError(f"The weights of a ranker are an object, not {weights!r}.")
    if ranker == "neural" or "neural" in weights:
        raise ValueError("This vector store has no neural ranker; there are rrf and weighted.")
    if ranker == "rrf":
        factor = given.get("impact_factor") if given.get("impact_factor") is not None else given.get("k")
        return Fusion("rrf", k=max(1, round(_number("impact_factor", factor, 60.0))))
    if ranker == "weighted":
        alpha = given.get("alpha")
        if alpha is None and weights:
            alpha = weights.get("vector", 0.0)
        return Fusion("linear") if alpha is None else Fusion("linear", alpha=_number("alpha", alpha, 0.0))
    raise ValueError(f"The ranker of a search is rrf or weighted, not {ranker!r}.")


def _checked_text(text: str) -> str:
    if not text.strip():
        raise ValueError("The query of a search is empty.")
    return text


def _whole_number(name: str, value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= _MOST_RESULTS:
        raise ValueError(f"{name} is a whole number from 1 to {_MOST_RESULTS}, not {value!r}.")
    return value


def _number(name: str, value: Any, usual: float) -> float:
    if value is None:
        return usual
    if isinstance(value, bool) or not isinstance(value, int | float) or not abs(value) <= _LARGEST_NUMBER:
        raise ValueError(f"{name} is a number, not {value!r}.")
    return float(value)
