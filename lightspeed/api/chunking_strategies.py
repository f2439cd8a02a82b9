"""How a file is cut into passages, as clients say it."""

from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

_SIZE, _OVERLAP = 800, 400
_CONTEXTUAL_SIZE = 700

Size = Annotated[int, Field(ge=100, le=4096)]
Overlap = Annotated[int, Field(ge=0)]


class _Windows(BaseModel):
    """Windows of tokens that overlap; without an overlap the usual one, but never more than half a window."""

    model_config = ConfigDict(extra="forbid")

    max_chunk_size_tokens: int
    chunk_overlap_tokens: int | None

    @model_validator(mode="after")
    def _advances(self) -> Self:
        if self.chunk_overlap_tokens is None:
            self.chunk_overlap_tokens = min(_OVERLAP, self.max_chunk_size_tokens // 2)
        if self.chunk_overlap_tokens > self.max_chunk_size_tokens // 2:
            raise ValueError("chunk_overlap_tokens must be at most half of max_chunk_size_tokens")
        return self


class StaticWindows(_Windows):
    max_chunk_size_tokens: Size = _SIZE
    chunk_overlap_tokens: Overlap | None = None


class ContextualWindows(_Windows):
    """Each window is prefixed with a sentence of a model that places it in its document."""

    max_chunk_size_tokens: Size = _CONTEXTUAL_SIZE
    chunk_overlap_tokens: Overlap | None = None
    model_id: str | None = Field(None, min_length=1)
    context_prompt: str | None = Field(
        None, description="Holds `{{WHOLE_DOCUMENT}}` and, behind it, `{{CHUNK_CONTENT}}`."
    )
    timeout_seconds: int | None = Field(None, ge=1)
    max_concurrency: int | None = Field(None, ge=1)

    @model_validator(mode="after")
    def _names_both(self) -> Self:
        prompt = self.context_prompt
        if prompt is not None and not 0 <= prompt.find("{{WHOLE_DOCUMENT}}") < prompt.find(
            "{{CHUNK_CONTENT}}"
        ):
            raise ValueError("context_prompt must hold {{WHOLE_DOCUMENT}} and, behind it, {{CHUNK_CONTENT}}")
        return self


class AutoChunking(BaseModel):
    """Along the headings and paragraphs of the document, as long as the embedding model reads."""

    model_config = ConfigDict(extra="forbid")

    type: Literal["auto"]


class StaticChunking(BaseModel):
    model_config = ConfigDict(extra="forbid")

    type: Literal["static"]
    static: StaticWindows


class ContextualChunking(BaseModel):
    model_config = ConfigDict(extra="forbid")

    type: Literal["contextual"]
    contextual: ContextualWindows = Field(default_factory=ContextualWindows)


ChunkingStrategy = Annotated[
    AutoChunking | StaticChunking | ContextualChunking,
    Field(
        discriminator="type",
        examples=[{"type": "static", "static": {"max_chunk_size_tokens": 800, "chunk_overlap_tokens": 400}}],
    ),
]


def strategy_values(strategy: ChunkingStrategy | None) -> dict[str, Any] | None:
    """The strategy as the stack takes it."""
    return None if strategy is None else strategy.model_dump(exclude_none=True)
