"""Which documents an answer names."""

import pytest

from lightspeed.retrieval.references import Chunk, ReferencedDocument, referenced_documents


def test_a_document_is_named_once_in_the_order_of_its_first_chunk() -> None:
    chunks = [
        Chunk("1", "docs", 0.9, {"title": "A", "docs_url": "https://example.com/a", "document_id": "x"}),
        Chunk("2", "docs", 0.8, {"title": "B", "document_id": "b"}),
        Chunk("3", "docs", 0.7, {"title": "A", "docs_url": "https://example.com/a", "document_id": "x"}),
    ]
    assert referenced_documents(chunks) == (
        ReferencedDocument("https://example.com/a", "A", "docs", "x"),
        ReferencedDocument(None, "B", "docs", "b"),
    )


def test_a_relative_or_broken_address_is_no_address_but_the_document_stays() -> None:
    for url in ("guide/a.md", "ftp://example.com/a", "https://", "http://[::1"):
        (document,) = referenced_documents([Chunk("1", "docs", 0.9, {"docs_url": url, "document_id": "a"})])
        assert (document.doc_url, document.document_id) == (None, "a")


def test_chunks_that_name_nothing_name_no_document() -> None:
    assert referenced_documents([Chunk("1", "docs", 0.9, {})]) == ()


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (" https://example.com/a b ", "https://example.com/a%20b"),
        ("https://example.com/größe", "https://example.com/größe"),
        ("https://example.com/\na", None),
        ("javascript:alert(1)", None),
        ("//example.com/a", None),
        ("http://[bad", None),
    ],
)
def test_an_address_can_be_a_link_as_it_stands(given: str, expected: str | None) -> None:
    (document,) = referenced_documents([Chunk("text", "docs", 0.5, {"title": "T", "docs_url": given})])
    assert document.doc_url == expected
