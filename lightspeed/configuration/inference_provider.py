"""Entries of `inference.providers`: where models run, without a run.yaml."""

from collections.abc import Iterator
from typing import Any, Literal

from pydantic import Field

from lightspeed.configuration.fields import Secret, Text, WebAddress
from lightspeed.configuration.section import KeyPath, Section, repeated

ProviderKind = Literal[
    "anthropic",
    "azure",
    "bedrock",
    "gemini",
    "groq",
    "litellm",
    "llamacpp",
    "ollama",
    "openai",
    "sentence_transformers",
    "vertexai",
    "vllm",
    "vllm_rhaiis",
    "vllm_rhel_ai",
    "watsonx",
]
_IN_THIS_PROCESS = frozenset({"llamacpp", "sentence_transformers"})
_WITHOUT_KEY = frozenset({"ollama", "vertexai"}) | _IN_THIS_PROCESS
_WITHOUT_ADDRESS = frozenset({"anthropic", "bedrock", "gemini", "vertexai"}) | _IN_THIS_PROCESS


class InferenceProvider(Section):
    """One provider of models. What is not given comes from the usual environment variables of its type."""

    type: ProviderKind = Field(description="Kind of provider.")
    id: Text | None = Field(None, description="Name of the provider; null is its type, with `-` for `_`.")
    api_key_env: Text | None = Field(None, description="Environment variable that holds the API key.")
    api_key: Secret | None = Field(None, description="API key.")
    base_url: WebAddress | None = Field(None, description="Address of the provider's API.")
    allowed_models: tuple[Text, ...] | None = Field(
        None, description="Models that are offered; null is all that the provider lists."
    )
    extra: dict[str, Any] = Field({}, description="More settings, named as the stack's provider names them.")

    @property
    def provider_id(self) -> str:
        return self.id or self.type.replace("_", "-")

    def problems(self) -> Iterator[tuple[KeyPath, str]]:
        if self.api_key is not None and self.api_key_env is not None:
            yield ("api_key",), "cannot be given beside `api_key_env`"
        for key in ("api_key", "api_key_env"):
            if getattr(self, key) is not None and self.type in _WITHOUT_KEY:
                yield (key,), f"is not used by the type `{self.type}`"
        if self.base_url is not None and self.type in _WITHOUT_ADDRESS:
            yield ("base_url",), f"is not used by the type `{self.type}`"
        if self.allowed_models is not None:
            if self.type in _IN_THIS_PROCESS:
                yield ("allowed_models",), f"is not used by the type `{self.type}`"
            for position in repeated(list(self.allowed_models)):
                yield ("allowed_models", position), "is given twice"
        for key in ("api_key", "base_url", "allowed_models"):
            if key in self.extra:
                yield ("extra", key), f"belongs one level higher, as `{key}`"
