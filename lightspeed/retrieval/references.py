"""What an answer rests on: the passages given to the model, and the documents that they come from."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

_URL_KEYS = ("reference_url", "doc_url", "docs_url", "url", "link")
_DOCUMENT_ID_KEYS = ("document_id", "doc_id", "chunk_id")


@dataclass(frozen=True, slots=True)
class Chunk:
    """A passage of a knowledge store that was given to the model; `source` names the store."""

    content: str
    source: str | None = None
    score: float | None = None
    attributes: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class ReferencedDocument:
    """A document that an answer rests on. `doc_url` is an absolute http(s) address or None."""

    doc_url: str | None = None
    doc_title: str | None = None
    source: str | None = None
    document_id: str | None = None


def referenced_documents(chunks: Iterable[Chunk]) -> tuple[ReferencedDocument, ...]:
    """The documents of some chunks, each once, in the order in which they first appear."""
    documents: dict[tuple[str | None, str | None, str | None], ReferencedDocument] = {}
    for chunk in chunks:
        document = _document(chunk)
        if document.doc_url or document.document_id or document.doc_title:
            key = (document.doc_url, document.doc_title, None if document.doc_url else document.document_id)
            documents.setdefault(key, document)
    return tuple(documents.values())


def _document(chunk: Chunk) -> ReferencedDocument:
    url = _first(chunk.attributes, _URL_KEYS)
    return ReferencedDocument(
        doc_url=_address(url) if url else None,
        doc_title=_first(chunk.attributes, ("title",)),
        source=chunk.source,
        document_id=_first(chunk.attributes, _DOCUMENT_ID_KEYS),
    )


def _first(attributes: Mapping[str, Any], keys: Iterable[str]) -> str | None:
    return next((str(attributes[key]) for key in keys if attributes.get(key)), None)


def _address(url: str) -> str | None:
    """An absolute address that can be a link as it stands, or None."""
    address = url.strip().replace(" ", "%20")
    if not address.isprintable():
        return None
    try:
        parts = urlsplit(address)
    except ValueError:
        return None
    return address if parts.scheme in ("http", "https") and parts.netloc else None
