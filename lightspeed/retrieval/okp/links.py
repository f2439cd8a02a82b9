"""Links to the portal's documents."""

import re
from dataclasses import dataclass
from urllib.parse import quote, urlsplit

from lightspeed.retrieval.okp.answer import SolrDocument

_BARE_PERCENT = re.compile(r"%(?![0-9A-Fa-f]{2})")
_NOT_IN_ADDRESSES = re.compile(r"[\s<>\"\\]")


@dataclass(frozen=True, slots=True)
class PortalLinks:
    """Where a reader finds a document: in the portal at `base_url` (`offline`), or at its public address."""

    base_url: str
    offline: bool

    def document(self, document: SolrDocument) -> str | None:
        """The address to cite. Where the document has none of the kind asked for, its id below the portal."""
        place = document.source_path if self.offline else document.reference_url
        return self._joined(place) or self._joined(document.cited_as)

    def chunk(self, document: SolrDocument) -> str | None:
        """The address that goes with the text; a document without a public address has none outside the portal."""
        return self.document(document) if self.offline else self._joined(document.reference_url)

    def _joined(self, place: str | None) -> str | None:
        """`place` below the base; a whole address stays what it is. None where it would lead nowhere."""
        place = (place or "").strip()
        if _is_address(place):
            return place
        path = quote(place.lstrip("/"), safe="/:@!$&'()*+,;=~-._?#%")
        if not path or ".." in path.split("/"):
            return None
        return f"{self.base_url}/{_BARE_PERCENT.sub('%25', path)}"


def _is_address(text: str) -> bool:
    try:
        parts = urlsplit(text)
    except ValueError:
        return False
    return parts.scheme in ("http", "https") and bool(parts.netloc) and not _NOT_IN_ADDRESSES.search(text)
