"""The providers that the run configuration names, without their secrets."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from llama_stack.core.datatypes import StackConfig
from llama_stack.core.utils.dynamic import instantiate_class_type
from llama_stack_api import Api
from pydantic import BaseModel, SecretStr

from lightspeed.configuration.masking import MASK, hidden, secrets, without_secrets
from lightspeed.telemetry.redaction import redact


@dataclass(frozen=True, slots=True)
class ProviderEntry:
    """`config` is as in the run configuration, with secrets masked; `settings` and `secrets` may not be shown."""

    api: str
    provider_id: str
    provider_type: str
    config: Mapping[str, Any]
    settings: Mapping[str, Any] = field(repr=False)
    secrets: frozenset[str] = field(repr=False)


class ProviderList:
    """All that are configured and not disabled, whether they run or not."""

    def __init__(self, configuration: StackConfig, registry: Mapping[Api, Mapping[str, Any]]) -> None:
        self._entries = [
            _entry(api, provider, registry)
            for api, providers in configuration.providers.items()
            for provider in providers
            if provider.provider_id and provider.provider_id != "__disabled__"
        ]

    def __iter__(self) -> Iterator[ProviderEntry]:
        return iter(self._entries)

    def find(self, provider_id: str) -> ProviderEntry | None:
        """The first of that id: two APIs may use the same."""
        return next((entry for entry in self._entries if entry.provider_id == provider_id), None)

    def harmless(self, text: str) -> str:
        """`text` without the secrets of any of them: their libraries put settings into their messages."""
        return redact(hidden(text, (secret for entry in self._entries for secret in entry.secrets)))

    def settings(self, api: str, provider_id: str) -> Mapping[str, Any]:
        """As in the run configuration, with secrets."""
        named = (entry for entry in self._entries if (entry.api, entry.provider_id) == (api, provider_id))
        return next((entry.settings for entry in named), {})


def _entry(api: str, provider: Any, registry: Mapping[Api, Mapping[str, Any]]) -> ProviderEntry:
    kept = frozenset(filter(None, (*secrets(provider.config), *_typed_secrets(api, provider, registry))))
    shown = _without(kept, without_secrets(provider.config))
    return ProviderEntry(api, provider.provider_id, provider.provider_type, shown, provider.config, kept)


def _typed_secrets(api: str, provider: Any, registry: Mapping[Api, Mapping[str, Any]]) -> Iterator[str]:
    """The values that the provider's own model of its settings holds to be secret."""
    specification = registry[Api(api)][provider.provider_type]
    model = instantiate_class_type(specification.config_class)
    if issubclass(model, BaseModel):
        yield from _secret_values(model.model_validate(provider.config))


def _secret_values(value: Any) -> Iterator[str]:
    match value:
        case SecretStr():
            yield value.get_secret_value()
        case BaseModel():
            # Not by their names: reading a deprecated field warns.
            for item in (*vars(value).values(), *(value.model_extra or {}).values()):
                yield from _secret_values(item)
        case Mapping():
            for item in value.values():
                yield from _secret_values(item)
        case list() | tuple():
            for item in value:
                yield from _secret_values(item)


def _without(kept: frozenset[str], value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _without(kept, item) for key, item in value.items()}
    if isinstance(value, list):
        return [_without(kept, item) for item in value]
    return MASK if isinstance(value, str) and value in kept else value
