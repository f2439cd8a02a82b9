"""The `config` block of the provider `inline::litellm` in run.yaml."""

from typing import Any

from pydantic import BaseModel, ConfigDict, Field, SecretStr, field_validator

_NOT_EXTRA = frozenset({"api_base", "api_key", "base_url", "input", "messages", "model", "stream", "tools"})


class LitellmModel(BaseModel):
    """One model, and how litellm reaches it."""

    model_config = ConfigDict(extra="forbid", protected_namespaces=())

    model: str = Field(
        min_length=1,
        description="The model as litellm names it: `anthropic/claude-sonnet-4-5`, `gemini/...`.",
    )
    api_key: SecretStr | None = Field(
        default=None,
        description="API key; null: the environment variable that litellm reads for this kind of provider.",
    )
    api_base: str | None = Field(
        default=None, min_length=1, description="Address of the API; null: the provider's own."
    )
    embedding_dimension: int | None = Field(
        default=None,
        ge=1,
        description="Length of a vector, which also says that this model makes embeddings; null: as litellm knows it.",
    )
    context_length: int | None = Field(
        default=None, ge=1, description="Tokens of one request; null: as litellm knows it."
    )
    extra: dict[str, Any] = Field(
        default_factory=dict,
        description="More arguments of litellm's calls, such as `api_version`, `timeout` (seconds) or `max_retries`."
        " What a request says itself wins.",
    )

    @field_validator("extra")
    @classmethod
    def _has_no_place_of_its_own(cls, extra: dict[str, Any]) -> dict[str, Any]:
        if wrong := sorted(extra.keys() & _NOT_EXTRA):
            raise ValueError(f"must not hold {', '.join(wrong)}")
        return extra


class LitellmConfig(BaseModel):
    """Models that litellm reaches."""

    model_config = ConfigDict(extra="forbid")

    models: dict[str, LitellmModel] = Field(
        min_length=1, description="The models by name; the public id of a model is <provider_id>/<name>."
    )
