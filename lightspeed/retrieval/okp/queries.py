"""The forms that are sent to Solr."""

import re
from collections.abc import Iterable, Sequence
from dataclasses import fields as fields_of

from lightspeed.retrieval.okp.answer import SolrDocument
from lightspeed.retrieval.okp.filters import quoted
from lightspeed.retrieval.okp.settings import PortalSettings

_MOST_WORDS = 256
_WILDCARDS = re.compile(r"[?*]")
_SYNTAX = re.compile(r'([+\-!(){}\[\]^"~:\\/]|&&|\|\|)')
_OPERATORS = re.compile(r"\b(AND|OR|NOT)\b")


def search_text(query: str) -> str:
    """A question as plain words: nothing in it is read as an operator. Empty where it has no words."""
    words = _WILDCARDS.sub(" ", query).split()[:_MOST_WORDS]
    escaped = _SYNTAX.sub(r"\\\1", " ".join(words))
    plain = _OPERATORS.sub(lambda found: found[0].lower(), escaped)
    return plain if re.search(r"\w", plain) else ""


def semantic_form(
    vector: Sequence[float], rows: int, filters: Iterable[str], settings: PortalSettings
) -> list[tuple[str, str]]:
    """For `semantic-search`: the chunks nearest to a vector."""
    return [("q", _nearest(vector, rows, settings)), *_common(rows, filters, settings)]


def hybrid_form(
    text: str, vector: Sequence[float] | None, rows: int, filters: Iterable[str], settings: PortalSettings
) -> list[tuple[str, str]]:
    """For `hybrid-search`: chunks with the words of `text`, the best of them lifted by nearness to the vector."""
    form = [("q", text), *_common(rows, filters, settings)]
    if vector is not None:
        documents, weight = settings.reranked_documents, settings.vector_weight
        form += [
            ("rq", f"{{!rerank reRankQuery=$rqq reRankDocs={documents} reRankWeight={weight:g}}}"),
            ("rqq", _nearest(vector, documents, settings)),
        ]
    return form


def context_form(
    parents: Sequence[str], around: Sequence[SolrDocument], settings: PortalSettings
) -> list[tuple[str, str]]:
    """For `select`: some documents, and the neighbours of some of their chunks."""
    names, reach = settings.fields, settings.neighbours_each_side
    rows = len(parents)
    queries = [f"{names.id}:({' OR '.join(quoted(parent) for parent in parents)})"]
    for chunk in around:
        if chunk.parent_id is None or chunk.chunk_index is None:
            continue
        first, last = max(0, chunk.chunk_index - reach), chunk.chunk_index + reach
        queries.append(
            f"({names.parent_id}:{quoted(chunk.parent_id)} AND {names.chunk_index}:[{first} TO {last}]"
            f" AND ({settings.chunk_filter}))"
        )
        rows += last - first + 1
    return [
        ("q", " OR ".join(queries)),
        ("defType", "lucene"),
        ("rows", str(rows)),
        ("fl", _field_list(settings)),
    ]


def _common(rows: int, filters: Iterable[str], settings: PortalSettings) -> list[tuple[str, str]]:
    restrictions = [("fq", query) for query in (settings.chunk_filter, *filters)]
    return [("rows", str(rows)), ("fl", f"{_field_list(settings)},score"), *restrictions]


def _nearest(vector: Sequence[float], count: int, settings: PortalSettings) -> str:
    numbers = ",".join(f"{value:.7g}" for value in vector)
    return f"{{!knn f={settings.fields.vector} topK={count}}}[{numbers}]"


def _field_list(settings: PortalSettings) -> str:
    """All fields but the vector, which is most of a document and of no use here."""
    names = settings.fields
    return ",".join(getattr(names, field.name) for field in fields_of(names) if field.name != "vector")
