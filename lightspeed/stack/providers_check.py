"""Checks a run configuration before anything is started, so that a mistake is one line and not a traceback."""

import importlib
from collections.abc import Iterator, Mapping
from typing import Any

from llama_stack.core.datatypes import Provider, StackConfig
from llama_stack.core.utils.dynamic import instantiate_class_type
from llama_stack_api import Api
from pydantic import ValidationError

from lightspeed.errors import ConfigurationError, StartupError


def check_providers(run_configuration: Mapping[str, Any], source: str) -> StackConfig:
    """The stack's own model of the file. Raises ConfigurationError with one line for each mistake."""
    try:
        return StackConfig.model_validate(run_configuration)
    except ValidationError as error:
        raise ConfigurationError([f"{source}: {line}" for line in _lines(error, "")]) from None


def import_providers(
    configuration: StackConfig, registry: Mapping[Api, Mapping[str, Any]], source: str
) -> None:
    """Import the code of all providers and check their settings. Slow: call it in a worker thread."""
    problems: list[str] = []
    for place, api, provider in _providers(configuration):
        specification = registry.get(api, {}).get(provider.provider_type)
        if specification is None:
            problems.append(
                f"{source}: {place}: there is no provider type {provider.provider_type!r} for {api.value}"
            )
            continue
        try:
            importlib.import_module(specification.module)
            instantiate_class_type(specification.config_class).model_validate(provider.config)
        except ValidationError as error:
            problems.extend(f"{source}: {line}" for line in _lines(error, f"{place}.config"))
        except ModuleNotFoundError as error:
            raise StartupError(
                f"{place}: provider {provider.provider_type} needs the Python package {error.name!r}, which is not installed"
            ) from error
    if problems:
        raise ConfigurationError(problems)


def _providers(configuration: StackConfig) -> Iterator[tuple[str, Api, Provider]]:
    for api, providers in configuration.providers.items():
        for provider in providers:
            if provider.provider_id and provider.provider_id != "__disabled__":
                yield f"providers.{api}.{provider.provider_id}", Api(api), provider


def _lines(error: ValidationError, prefix: str) -> Iterator[str]:
    for detail in error.errors(include_input=False, include_url=False, include_context=False):
        path = ".".join(part for part in (prefix, *map(str, detail["loc"])) if part)
        yield f"{path}: {detail['msg'].removeprefix('Value error, ')}"
