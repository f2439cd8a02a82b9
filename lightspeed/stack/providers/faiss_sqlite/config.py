"""The `config` block of the provider `inline::faiss-sqlite` in run.yaml."""

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

SearchMode = Literal["vector", "keyword", "hybrid"]


class FaissSqliteConfig(BaseModel):
    """Vector stores in one folder. Several processes may use it at once."""

    model_config = ConfigDict(extra="forbid")

    path: str = Field(
        min_length=1, description="The folder of the stores: one folder for each, and catalog.db beside them."
    )
    mode: SearchMode = Field(
        default="hybrid", description="How a search looks for chunks when the request does not say."
    )
    index: Literal["auto", "exact"] = Field(
        default="auto",
        description="exact: every search reads all vectors; auto: large stores get an approximate index.",
    )
    approximate_above: int = Field(
        default=200_000, ge=1, description="Chunks from which `auto` uses an approximate index."
    )
    import_from: str | None = Field(
        default=None,
        min_length=1,
        description="A database of the stack's own inline::faiss. Its stores are taken over when they are first "
        "needed; it is never written.",
    )
    read_only: bool = Field(
        default=False,
        description="Refuse all changes. With `import_from` the folder is a cache, made anew when the database "
        "has changed.",
    )
    attach_wait_seconds: float = Field(
        default=10.0,
        ge=0,
        description="Seconds after which attaching a file answers `in_progress`, while the file is still read.",
    )
    read_files: bool = Field(
        default=True,
        description="Whether this process reads attached files. Without it they wait for another process.",
    )
    max_file_bytes: int = Field(
        default=104_857_600, ge=1, description="The largest file, in bytes, that is read when it is attached."
    )
    vector_stores_config: Any = Field(
        default=None, description="Set by the stack: the section `vector_stores` of run.yaml."
    )
