"""What litellm knows of a model, from the table that comes with the package."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from lightspeed.errors import StartupError
from lightspeed.stack.providers.litellm.config import LitellmModel


@dataclass(frozen=True, slots=True)
class ModelFacts:
    """`embedding_dimension` is None for a chat model; `context_length` is in tokens, None if nobody knows it."""

    embedding_dimension: int | None
    context_length: int | None

    def metadata(self) -> dict[str, Any]:
        """As the stack keeps it beside the model."""
        facts = {"embedding_dimension": self.embedding_dimension, "context_length": self.context_length}
        return {name: value for name, value in facts.items() if value is not None}


def known_facts(litellm: Any, name: str, settings: LitellmModel) -> ModelFacts:
    """The facts of one configured model; the configuration wins over the table.

    Raises StartupError when litellm knows no such provider, or when the length of vectors is not known.
    """
    try:
        model, provider, *_ = litellm.get_llm_provider(settings.model, api_base=settings.api_base)
    except Exception as error:
        raise StartupError(
            f"litellm model {name!r}: litellm knows no provider of {settings.model!r};"
            " the name begins with the provider, as in 'anthropic/claude-sonnet-4-5'"
        ) from error
    table: Mapping[str, Any] = litellm.model_cost
    entry = table.get(settings.model) or table.get(f"{provider}/{model}") or {}
    if not entry and settings.api_base is None:
        entry = table.get(model) or {}
    dimension = settings.embedding_dimension
    if dimension is None and entry.get("mode") == "embedding":
        dimension = _count(entry.get("output_vector_size"))
        if dimension is None:
            raise StartupError(
                f"litellm model {name!r}: needs embedding_dimension, the length of its vectors"
            )
    return ModelFacts(dimension, settings.context_length or _count(entry.get("max_input_tokens")))


def _count(value: Any) -> int | None:
    return value if isinstance(value, int) and value > 0 else None
