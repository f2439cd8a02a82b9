"""Links to documents, in the portal and outside."""

from typing import Any

import pytest

from lightspeed.retrieval.okp.answer import solr_document
from lightspeed.retrieval.okp.links import PortalLinks
from lightspeed.retrieval.okp.settings import PortalFields

BASE = "http://portal.example:8080/okp"


def both(offline: bool, **values: Any) -> tuple[str | None, str | None]:
    """The reference and the link of the chunk."""
    document = solr_document({"id": "d", **values}, PortalFields())
    links = PortalLinks(BASE, offline)
    return links.document(document), links.chunk(document)


@pytest.mark.parametrize(
    ("values", "link"),
    [
        ({"source_path": "/a/b.html", "doc_id": "x", "reference_url": "https://e.org/1"}, f"{BASE}/a/b.html"),
        ({"source_path": "a/b.html#top"}, f"{BASE}/a/b.html#top"),
        ({"doc_id": "/x/index.html", "reference_url": "https://e.org/1"}, f"{BASE}/x/index.html"),
        ({"source_path": "https://e.org/2"}, "https://e.org/2"),
        ({"source_path": "//evil.example/x"}, f"{BASE}/evil.example/x"),
        ({"source_path": "a b/<c>.html"}, f"{BASE}/a%20b/%3Cc%3E.html"),
        ({"source_path": "100%/a%20b"}, f"{BASE}/100%25/a%20b"),
        ({"source_path": ["/first", "/second"]}, f"{BASE}/first"),
        ({"source_path": "  ", "parent_id": "p"}, f"{BASE}/p"),
        ({"source_path": "../../admin", "doc_id": "x"}, f"{BASE}/x"),
        ({"source_path": "javascript:alert(1)"}, f"{BASE}/javascript:alert(1)"),
        ({}, f"{BASE}/d"),
    ],
)
def test_offline_both_lead_to_the_portal(values: dict[str, Any], link: str) -> None:
    assert both(True, **values) == (link, link)


@pytest.mark.parametrize(
    ("values", "reference", "chunk"),
    [
        ({"reference_url": "https://e.org/1", "doc_id": "x"}, "https://e.org/1", "https://e.org/1"),
        ({"reference_url": "/solutions/1"}, f"{BASE}/solutions/1", f"{BASE}/solutions/1"),
        ({"source_path": "/a", "doc_id": "x"}, f"{BASE}/x", None),
        ({"reference_url": ["https://e.org/1"]}, "https://e.org/1", "https://e.org/1"),
        ({"reference_url": ""}, f"{BASE}/d", None),
    ],
)
def test_online_they_lead_to_the_public_address(
    values: dict[str, Any], reference: str, chunk: str | None
) -> None:
    assert both(False, **values) == (reference, chunk)
