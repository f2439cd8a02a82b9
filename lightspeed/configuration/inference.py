"""The sections `inference` and `compaction`: models and their windows."""

from collections.abc import Iterator

from pydantic import Field

from lightspeed.configuration.fields import NonNegativeInt, PositiveInt, Ratio
from lightspeed.configuration.section import KeyPath, Section


class InferenceConfiguration(Section):
    """The model that answers when a request names none."""

    default_model: str | None = Field(None, description="Model, as its provider names it.")
    default_provider: str | None = Field(None, description="Provider of that model.")
    context_windows: dict[str, PositiveInt] = Field(
        {}, description="`provider/model` to its context window, tokens."
    )

    def problems(self) -> Iterator[tuple[KeyPath, str]]:
        if self.default_model and not self.default_provider:
            yield ("default_provider",), "is required beside `default_model`"
        if self.default_provider and not self.default_model:
            yield ("default_model",), "is required beside `default_provider`"


class CompactionConfiguration(Section):
    """Long conversations: old turns give way to a summary."""

    enabled: bool = Field(False, description="Whether old turns are summarised.")
    threshold_ratio: Ratio = Field(0.7, description="Share of the window above which it happens.")
    token_floor: NonNegativeInt = Field(4096, description="Tokens below which it never happens.")
    buffer_turns: NonNegativeInt = Field(4, description="Newest turns that are kept word for word.")
    buffer_max_ratio: Ratio = Field(0.3, description="Share of the window that these turns may fill.")
