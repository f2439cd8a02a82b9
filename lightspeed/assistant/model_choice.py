"""Which model answers."""

from collections.abc import Collection, Sequence

from lightspeed.assistant.settings import AssistantSettings
from lightspeed.errors import NotFound, ProviderUnavailable, RequestError
from lightspeed.stack.models import Model


class NoModelConfigured(RequestError):
    status = 404
    default_response = "Model not found"


def choose_model(
    models: Sequence[Model],
    settings: AssistantSettings,
    requested: tuple[str | None, str | None],
    last_used: tuple[str | None, str | None],
    providers: Collection[str] = (),
) -> Model:
    """The requested model, else the conversation's last one, else the default, else the first that talks.

    Both pairs are (provider, model). A last-used model that has been retired gives way to the default.
    Raises NotFound, or ProviderUnavailable for one of `providers` that has not told its models yet.
    """
    talking = [model for model in models if model.model_type == "llm"]
    provider, name = requested
    if name:
        return _find(talking, provider, name) or _missing(models, provider, name, providers)
    provider, name = last_used
    if name and (found := _find(talking, provider, name)):
        return found
    if settings.default_model:
        provider, name = settings.default_provider, settings.default_model
        return _find(talking, provider, name) or _missing(models, provider, name, providers)
    if not talking:
        raise NoModelConfigured("No Model is configured")
    return talking[0]


def _find(models: Sequence[Model], provider: str | None, name: str) -> Model | None:
    for model in models:
        if provider is not None and model.provider_id != provider:
            continue
        if name in (model.identifier, model.name, model.provider_resource_id):
            return model
    return None


def _missing(models: Sequence[Model], provider: str | None, name: str, providers: Collection[str]) -> Model:
    if provider is not None and all(model.provider_id != provider for model in models):
        if provider in providers:
            raise ProviderUnavailable(f"Provider {provider} could not be asked for its models yet.")
        raise NotFound("Provider", provider)
    raise NotFound("Model", name.removeprefix(f"{provider}/"))
