"""How the portal is reached, and what its fields are called."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Self
from urllib.parse import unquote, urlsplit, urlunsplit

from lightspeed.configuration.rag import OkpConfiguration
from lightspeed.errors import ConfigurationError

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_.-]*")
_ALTERNATIVES = re.compile(r"\bOR\b|\|\|")
_COLLECTION = "portal-rag"
_EMBEDDING_MODEL = "sentence-transformers/ibm-granite/granite-embedding-30m-english"
_DIMENSION = 384
_CONTENT_FIELD = "chunk"
_VECTOR_FIELD = "chunk_vector"


@dataclass(frozen=True, slots=True)
class PortalFields:
    """The fields of the portal's documents: chunks, and the documents that they are parts of."""

    content: str = _CONTENT_FIELD
    vector: str = _VECTOR_FIELD
    id: str = "id"
    parent_id: str = "parent_id"
    chunk_index: str = "chunk_index"
    token_count: str = "num_tokens"  # noqa: S105
    headings: str = "headings"
    is_chunk: str = "is_chunk"
    total_chunks: str = "total_chunks"
    total_tokens: str = "total_tokens"
    document_id: str = "doc_id"
    title: str = "title"
    source_path: str = "source_path"
    reference_url: str = "reference_url"


@dataclass(frozen=True, slots=True)
class PortalSettings:
    """Address, collection, fields and limits of the portal. Times are in seconds, budgets in tokens.

    `base_url` holds no credentials; they are in `credentials`, as user and password. `embedding_model` is the model
    that made the portal's vectors of length `embedding_dimension`; a query must be embedded by the same.
    """

    base_url: str = "http://localhost:8081"
    credentials: tuple[str, str] | None = None
    offline: bool = True
    chunk_filter_query: str | None = None
    collection: str = _COLLECTION
    embedding_model: str = _EMBEDDING_MODEL
    embedding_dimension: int = _DIMENSION
    fields: PortalFields = PortalFields()
    reranked_documents: int = 100
    vector_weight: float = 8.0
    token_budget: int = 3072
    token_budget_without_headings: int = 1536
    neighbours_each_side: int = 10
    connect_timeout: float = 5.0
    timeout: float = 20.0

    @classmethod
    def read(cls, okp: OkpConfiguration, environment: Mapping[str, str]) -> Self:
        """The section `okp` and the variables SOLR_*; an empty variable counts as unset. Raises ConfigurationError."""
        variables = {name: value.strip() for name, value in environment.items() if value.strip()}
        problems: list[str] = []

        def name(variable: str, default: str) -> str:
            value = variables.get(variable, default)
            if not _NAME.fullmatch(value):
                problems.append(
                    f"{variable}: '{value}' is not a name; use letters, digits, '_', '-' and '.' only"
                )
            return value

        collection = name("SOLR_COLLECTION", _COLLECTION)
        fields = PortalFields(
            content=name("SOLR_CONTENT_FIELD", _CONTENT_FIELD),
            vector=name("SOLR_VECTOR_FIELD", _VECTOR_FIELD),
        )
        dimension = variables.get("SOLR_EMBEDDING_DIM", str(_DIMENSION))
        if not dimension.isascii() or not dimension.isdigit() or int(dimension) == 0:
            problems.append(f"SOLR_EMBEDDING_DIM: '{dimension}' is not a whole number above 0")
        if problems:
            raise ConfigurationError(problems)
        base_url, credentials = _without_credentials(okp.base_url)
        return cls(
            base_url=base_url,
            credentials=credentials,
            offline=okp.offline,
            chunk_filter_query=(okp.chunk_filter_query or "").strip() or None,
            collection=collection,
            embedding_model=variables.get("SOLR_EMBEDDING_MODEL", _EMBEDDING_MODEL),
            embedding_dimension=int(dimension),
            fields=fields,
        )

    @property
    def solr_url(self) -> str:
        return f"{self.base_url}/solr"

    @property
    def chunk_filter(self) -> str:
        """What every search is restricted to: chunks, and of these what the configuration says."""
        chunks = f"{self.fields.is_chunk}:true"
        if not self.chunk_filter_query:
            return chunks
        if _ALTERNATIVES.search(self.chunk_filter_query):
            # Without the parentheses Lucene takes what stands after an OR as a wish.
            return f"{chunks} AND ({self.chunk_filter_query})"
        return f"{chunks} AND {self.chunk_filter_query}"


def _without_credentials(url: str) -> tuple[str, tuple[str, str] | None]:
    parts = urlsplit(url)
    _, at, host = parts.netloc.rpartition("@")
    if not at:
        return url, None
    bare = urlunsplit(parts._replace(netloc=host))
    return bare, (unquote(parts.username or ""), unquote(parts.password or ""))
