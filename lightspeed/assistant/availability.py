"""Can any question be answered at this moment?"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass

from lightspeed.assistant.model_choice import choose_model
from lightspeed.assistant.settings import AssistantSettings
from lightspeed.errors import ProviderUnavailable, RequestError
from lightspeed.stack.models import Model

_NONE = (None, None)


@dataclass(frozen=True, slots=True)
class Availability:
    """`refusal` says why no question is answered, None if some are; `impact` what those miss that name no model."""

    refusal: str | None = None
    impact: str | None = None


def availability(
    models: Sequence[Model], settings: AssistantSettings, providers: Collection[str], down: Collection[str]
) -> Availability:
    """`providers` are the ids of all model providers, `down` of those that do not answer.

    A provider that is down may serve the default model without having said so: then questions that name another
    model are answered as long as there is one.
    """
    silent = set(providers) - {model.provider_id for model in models}
    talking = {model.provider_id for model in models if model.model_type == "llm"} | silent
    if not talking:
        return Availability("No model that answers questions is configured")
    if talking <= set(down):
        return Availability(f"Providers not healthy: {', '.join(sorted(talking))}")
    try:
        chosen = choose_model(models, settings, _NONE, _NONE, providers).provider_id
    except ProviderUnavailable:
        chosen = settings.default_provider or ""
    except RequestError:
        if settings.default_model is None:
            return Availability("No model that answers questions is configured")
        name = "/".join(filter(None, (settings.default_provider, settings.default_model)))
        return Availability(f"Model {name} not found in model registry")
    if chosen in down:
        return Availability(
            impact=f"Questions that name no model are not answered: provider {chosen} is down."
        )
    return Availability()
