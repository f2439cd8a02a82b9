"""What an answer rests on: the passages given to the model, and the documents that they come from."""

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

_URL_KEYS = ("reference_url", "doc_url", "docs_url", "url", "link")
_DOCUMENT_ID_KEYS = ("document_id", "doc_id", "chunk_id")
_NOT_IN_LINKS = re.compile(r"""[ "<>\\^`{|}]""")


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
    """The documents of some chunks, each once, in the order in which they first appear.

    Stores may have different documents of one id; of one address and title there is one only.
    """
    documents: dict[tuple[str | None, ...], ReferencedDocument] = {}
    for chunk in chunks:
        document = _document(chunk)
        if document.doc_url:
            documents.setdefault((document.doc_url, document.doc_title), document)
        elif document.document_id or document.doc_title:
            documents.setdefault((document.source, document.document_id, document.doc_title), document)
    return tuple(documents.values())


def document_id(attributes: Mapping[str, Any]) -> str | None:
    """The id of the document that a passage is part of, or else its own."""
    return next(_values(attributes, _DOCUMENT_ID_KEYS), None)


def _document(chunk: Chunk) -> ReferencedDocument:
    addresses = map(_address, _values(chunk.attributes, _URL_KEYS))
    return ReferencedDocument(
        doc_url=next((address for address in addresses if address), None),
        doc_title=next(_values(chunk.attributes, ("title",)), None),
        source=chunk.source,
        document_id=document_id(chunk.attributes),
    )


def _values(attributes: Mapping[str, Any], keys: Iterable[str]) -> Iterator[str]:
    return (str(attributes[key]) for key in keys if attributes.get(key))


def _address(url: str) -> str | None:
    """An absolute address that can be a link as it stands, or None."""
    address = url.strip()
    if not address.isprintable():
        return None
    try:
        parts = urlsplit(address)
    except ValueError:
        return None
    if parts.scheme not in ("http", "https") or not parts.netloc:
        return None
    return _NOT_IN_LINKS.sub(lambda found: f"%{ord(found[0]):02X}", address)
