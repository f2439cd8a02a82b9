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


def test_the_first_address_that_leads_somewhere_is_taken() -> None:
    attributes = {"doc_url": "guide/a.md", "url": "https://example.com/a", "link": "https://example.com/b"}
    (document,) = referenced_documents([Chunk("1", "docs", 0.9, attributes)])
    assert document.doc_url == "https://example.com/a"


def test_documents_of_one_id_in_two_stores_are_two() -> None:
    chunks = [
        Chunk(str(number), source, 0.9, {"title": "Read me", "document_id": "readme"})
        for number, source in enumerate(["ours", "theirs", "ours"])
    ]
    assert [document.source for document in referenced_documents(chunks)] == ["ours", "theirs"]


def test_chunks_that_name_nothing_name_no_document() -> None:
    assert referenced_documents([Chunk("1", "docs", 0.9, {})]) == ()


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (" https://example.com/a b ", "https://example.com/a%20b"),
        ("https://example.com/größe", "https://example.com/größe"),
        ("https://example.com/<a>?q={b}|c%20d", "https://example.com/%3Ca%3E?q=%7Bb%7D%7Cc%20d"),
        ("https://example.com/\na", None),
        ("javascript:alert(1)", None),
        ("//example.com/a", None),
        ("http://[bad", None),
    ],
)
def test_an_address_can_be_a_link_as_it_stands(given: str, expected: str | None) -> None:
    (document,) = referenced_documents([Chunk("text", "docs", 0.5, {"title": "T", "docs_url": given})])
    assert document.doc_url == expected
