"""The sections `byok_rag`, `rag`, `okp` and `reranker`: knowledge and how it is searched."""

from collections.abc import Iterator
from typing import Annotated

from pydantic import AnyHttpUrl, Field

from lightspeed.configuration.fields import AnyPath, NonNegativeInt, PositiveInt, Text
from lightspeed.configuration.section import KeyPath, Section

OKP = "okp"
"""The id of the Offline Knowledge Portal in `rag.inline` and `rag.tool`."""


class ByokRag(Section):
    """A knowledge store of the user's own."""

    rag_id: Text = Field(description="Unique id, as users see it.")
    rag_type: Text = Field("inline::faiss", description="The stack's provider type.")
    embedding_model: Text = Field(
        "sentence-transformers/all-mpnet-base-v2", description="Model that made the embeddings."
    )
    embedding_dimension: PositiveInt = Field(768, description="Length of an embedding.")
    vector_db_id: Text = Field(description="The store's id inside the database.")
    db_path: AnyPath = Field(description="Database file.")
    score_multiplier: Annotated[float, Field(gt=0)] = Field(1.0, description="Weight of its scores.")

    def problems(self) -> Iterator[tuple[KeyPath, str]]:
        if self.rag_id == OKP:
            yield ("rag_id",), "`okp` is the id of the Offline Knowledge Portal; choose another"
        if any(character in "/\\" or not character.isprintable() for character in self.rag_id):
            # It names a folder of the state directory.
            yield ("rag_id",), "must not hold `/`, `\\` or control characters"


class RagConfiguration(Section):
    """Stores by `rag_id`, `okp`, or the stack's own id."""

    inline: tuple[Text, ...] = Field((), description="Searched before the model is asked.")
    tool: tuple[Text, ...] = Field((), description="Searched when the model calls the search tool.")
    max_chunks: PositiveInt = Field(10, description="Passages that one search gives to the model at most.")
    max_tokens: PositiveInt = Field(8000, description="Tokens of all these passages together, by estimate.")
    neighbours: NonNegativeInt = Field(
        0, description="How many passages before and after each are given with it."
    )
    max_seconds: Annotated[float, Field(gt=0)] = Field(
        20.0, description="Seconds after which a store that has not answered is left out."
    )

    @property
    def uses_portal(self) -> bool:
        """Whether the Offline Knowledge Portal is searched at all."""
        return OKP in self.inline or OKP in self.tool


class OkpConfiguration(Section):
    """The Offline Knowledge Portal."""

    rhokp_url: AnyHttpUrl | None = Field(None, description="Address; null is http://localhost:8081.")
    offline: bool = Field(True, description="Whether links lead to the portal, not to the internet.")
    chunk_filter_query: str | None = Field(None, description="Solr filter on chunks.")

    @property
    def base_url(self) -> str:
        """The address in force, without a trailing slash."""
        return str(self.rhokp_url or "http://localhost:8081").rstrip("/")


class RerankerConfiguration(Section):
    """A cross-encoder that orders the chunks that were found."""

    enabled: bool = Field(False, description="Whether chunks are reranked.")
    model: Text = Field("cross-encoder/ms-marco-MiniLM-L6-v2", description="Cross-encoder model.")
