"""The models that the stack can reach."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True)
class Model:
    """`identifier` is the public name, mostly `provider_id/provider_resource_id`; `model_type` is `llm`, `embedding` or `rerank`."""

    identifier: str
    provider_id: str
    provider_resource_id: str
    model_type: str
    metadata: Mapping[str, Any] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """The identifier without its provider."""
        return self.identifier.removeprefix(f"{self.provider_id}/")

    @property
    def context_length(self) -> int | None:
        """How many tokens the model can read and write together, where the provider tells it."""
        length = self.metadata.get("context_length")
        return int(length) if isinstance(length, int | float | str) and str(length).isdigit() else None
