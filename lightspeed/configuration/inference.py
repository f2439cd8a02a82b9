"""The sections `inference` and `compaction`: models and their windows."""

from collections.abc import Iterator

from pydantic import Field

from lightspeed.configuration.fields import NonNegativeInt, PositiveInt, Ratio
from lightspeed.configuration.inference_provider import InferenceProvider
from lightspeed.configuration.section import KeyPath, Section, repeated


class InferenceConfiguration(Section):
    """The model that answers when a request names none, and where models run."""

    default_model: str | None = Field(None, description="Model, as its provider names it.")
    default_provider: str | None = Field(None, description="Provider of that model.")
    context_windows: dict[str, PositiveInt] = Field(
        {}, description="`provider/model` to its context window, tokens."
    )
    providers: tuple[InferenceProvider, ...] = Field(
        (), description="Providers of models, when there is no run.yaml."
    )

    def problems(self) -> Iterator[tuple[KeyPath, str]]:
        if self.default_model and not self.default_provider:
            yield ("default_provider",), "is required beside `default_model`"
        if self.default_provider and not self.default_model:
            yield ("default_model",), "is required beside `default_provider`"
        ids = [provider.provider_id for provider in self.providers]
        for position in repeated(ids):
            yield ("providers", position, "id"), f"`{ids[position]}` is the id of another provider too"
        if self.default_provider and ids and self.default_provider not in ids:
            yield ("default_provider",), "is not the id of one of `providers`"
        for position, provider in enumerate(self.providers):
            named = provider.provider_id == self.default_provider
            if named and provider.allowed_models and self.default_model not in provider.allowed_models:
                yield ("default_model",), f"is not among `providers[{position}].allowed_models`"


class CompactionConfiguration(Section):
    """Long conversations: old turns give way to a summary."""

    enabled: bool = Field(False, description="Whether old turns are summarised.")
    threshold_ratio: Ratio = Field(0.7, description="Share of the window above which it happens.")
    token_floor: NonNegativeInt = Field(4096, description="Tokens below which it never happens.")
    buffer_turns: NonNegativeInt = Field(4, description="Newest turns that are kept word for word.")
    buffer_max_ratio: Ratio = Field(0.3, description="Share of the window that these turns may fill.")
