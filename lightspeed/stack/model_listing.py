"""Which models a provider offers, and how the stack's register learns of a change."""

from collections.abc import Sequence
from typing import Any

from llama_stack.core.datatypes import ModelWithOwner, RegistryEntrySource
from llama_stack.providers.utils.inference.openai_mixin import OpenAIMixin


class NoKey(Exception):
    """The provider needs an API key and has none."""


async def offered_models(provider: Any) -> list[Any] | None:
    """The models as the provider lists them now, None if it has no list. Raises what keeps it from listing them."""
    # Its own method logs each failure as an error, which a watch would repeat without end.
    if isinstance(provider, OpenAIMixin) and type(provider).list_models is OpenAIMixin.list_models:
        if not provider._get_api_key_from_config_or_provider_data():
            raise NoKey
        allowed = provider.config.allowed_models
        names = await provider.list_provider_model_ids()
        return [
            provider.construct_model_from_identifier(name)
            for name in dict.fromkeys(names)
            if allowed is None or name in allowed
        ]
    models: list[Any] | None = await provider.list_models()
    return models


async def learn(table: Any, provider_id: str, offered: Sequence[Any]) -> bool:
    """Bring the register up to date with what a provider offers; returns whether anything has changed.

    What the run configuration names stays. Nothing is forgotten for a provider that offers no model at all.
    """
    known = [model for model in await table.get_all_with_type("model") if model.provider_id == provider_id]
    named = {
        model.provider_resource_id
        for model in known
        if model.source != RegistryEntrySource.listed_from_provider
    }
    listed = {model.provider_resource_id: model for model in known if model.provider_resource_id not in named}
    wanted = {
        model.provider_resource_id: model for model in offered if model.provider_resource_id not in named
    }
    if not wanted:
        return False
    gone = [model for name, model in listed.items() if name not in wanted or _differ(model, wanted[name])]
    new = [model for name, model in wanted.items() if name not in listed or _differ(model, listed[name])]
    for model in gone:
        await table.unregister_object(model)
    for model in new:
        await table.register_object(_entry(provider_id, model))
    return bool(gone or new)


def _differ(one: Any, other: Any) -> bool:
    return (one.model_type, one.metadata or {}) != (other.model_type, other.metadata or {})


def _entry(provider_id: str, model: Any) -> ModelWithOwner:
    identifier = model.identifier
    if identifier == model.provider_resource_id:
        identifier = f"{provider_id}/{identifier}"
    return ModelWithOwner(
        identifier=identifier,
        provider_resource_id=model.provider_resource_id,
        provider_id=provider_id,
        metadata=model.metadata or {},
        model_type=model.model_type,
        source=RegistryEntrySource.listed_from_provider,
    )
