"""What Solr answers, read into documents."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from lightspeed.retrieval.okp.settings import PortalFields

_CHARACTERS_PER_TOKEN = 4
_BETWEEN_NAME_AND_NUMBER = "_chunk_"


@dataclass(frozen=True, slots=True)
class SolrDocument:
    """A chunk of a document, or the document itself. `score` is Solr's, 0 where none was asked for."""

    id: str
    content: str
    score: float
    is_chunk: bool
    parent_id: str | None
    chunk_index: int | None
    token_count: int
    headings: tuple[str, ...]
    document_id: str | None
    title: str | None
    source_path: str | None
    reference_url: str | None
    total_chunks: int | None

    @property
    def cited_as(self) -> str:
        """The id of the document that it is, or is a part of."""
        return self.document_id or self.parent_id or self.id

    def with_parent(self, parent: "SolrDocument | None") -> "SolrDocument":
        """What a chunk does not say of its document, the document says itself."""
        if parent is None:
            return self
        return replace(
            self,
            document_id=self.document_id or parent.document_id,
            title=self.title or parent.title,
            source_path=self.source_path or parent.source_path,
            reference_url=self.reference_url or parent.reference_url,
            total_chunks=self.total_chunks or parent.total_chunks,
        )


def solr_document(values: Mapping[str, Any], fields: PortalFields) -> SolrDocument:
    """Read one document of an answer. Fields with several values give their first, where one is meant.

    Raises ValueError for a document without an id, or with a score that is not a number.
    """
    identifier = _text(values.get(fields.id))
    if identifier is None:
        raise ValueError(f"a document without '{fields.id}'")
    content = _joined(values.get(fields.content))
    named, between, _ = identifier.rpartition(_BETWEEN_NAME_AND_NUMBER)
    return SolrDocument(
        id=identifier,
        content=content,
        score=_score(values.get("score", 0.0)),
        is_chunk=next(iter(_all(values.get(fields.is_chunk))), True) in (True, "true"),
        parent_id=_text(values.get(fields.parent_id)) or (named if between else None),
        chunk_index=_whole(values.get(fields.chunk_index)),
        token_count=_whole(values.get(fields.token_count)) or math.ceil(len(content) / _CHARACTERS_PER_TOKEN),
        headings=tuple(str(heading) for heading in _all(values.get(fields.headings)) if str(heading).strip()),
        document_id=_text(values.get(fields.document_id)),
        title=_text(values.get(fields.title)),
        source_path=_text(values.get(fields.source_path)),
        reference_url=_text(values.get(fields.reference_url)),
        total_chunks=_whole(values.get(fields.total_chunks)),
    )


def _all(value: Any) -> list[Any]:
    if value is None:
        return []
    return value if isinstance(value, list) else [value]


def _text(value: Any) -> str | None:
    first = next((str(item).strip() for item in _all(value) if isinstance(item, str | int)), "")
    return first or None


def _joined(value: Any) -> str:
    return "\n".join(item for item in _all(value) if isinstance(item, str)).strip()


def _whole(value: Any) -> int | None:
    first = next(iter(_all(value)), None)
    try:
        number = int(first)  # type: ignore[arg-type]
    except (TypeError, ValueError, OverflowError):
        return None
    return number if number >= 0 else None


def _score(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise ValueError("a document whose score is not a number")
    return float(value)
