"""Checks a run configuration before anything is started, so that a mistake is one line and not a traceback."""

import ast
import difflib
import importlib
import inspect
import logging
import textwrap
import warnings
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from importlib.util import resolve_name
from types import ModuleType
from typing import Any

from llama_stack.core.datatypes import Provider, StackConfig
from llama_stack.core.distribution import builtin_automatically_routed_apis, get_provider_registry
from llama_stack.core.utils.dynamic import instantiate_class_type
from llama_stack_api import Api
from pydantic import ValidationError

from lightspeed.errors import ConfigurationError, StartupError
from lightspeed.stack.run_file.values import unknown_keys, with_texts

logger = logging.getLogger(__name__)

# The stack offers these to its own clients; this service never calls them.
_SPARED = frozenset({"batches", "datasetio", "eval", "file_processors", "responses", "scoring"})
_FACTORIES = ("get_provider_impl", "get_adapter_impl")

type Registry = Mapping[Api, Mapping[str, Any]]


def check_providers(run_configuration: Mapping[str, Any], source: str) -> StackConfig:
    """The stack's own model of the file. Raises ConfigurationError with one line for each mistake."""
    try:
        with warnings.catch_warnings():
            # The stack warns of what this version still reads; such keys are told as notices.
            warnings.simplefilter("ignore", DeprecationWarning)
            configuration, _ = with_texts(StackConfig.model_validate, run_configuration)
    except ValidationError as error:
        raise ConfigurationError([f"{source}: {line}" for line in _lines(error, "")]) from None
    return configuration


def provider_types(configuration: StackConfig, source: str) -> Registry:
    """All provider types by API, also those of modules that the file names. Raises ConfigurationError."""
    try:
        registry: Registry = get_provider_registry(configuration)
    except (ValueError, OSError, ImportError, AttributeError) as error:
        modules = sorted({provider.module for _, provider in _running(configuration) if provider.module})
        reason = " ".join(str(error).split())
        raise ConfigurationError(
            f"{source}: providers: a module among {', '.join(modules) or 'none'} cannot be loaded: {reason}"
        ) from None
    return registry


def import_providers(configuration: StackConfig, registry: Registry, source: str) -> None:
    """Import the code of all providers and check their settings. Slow: call it in a worker thread.

    What this service does not need and cannot start is taken out of the configuration, with a warning in the log.
    Raises ConfigurationError with one line for each mistake, and StartupError when packages are missing.
    """
    findings = inspect_providers(configuration, registry, source)
    for line in findings.warnings:
        logger.warning("%s", line)
    if findings.problems:
        raise ConfigurationError(findings.problems)
    if findings.missing:
        raise StartupError("; ".join(findings.missing))


@dataclass(frozen=True, slots=True)
class Findings:
    """What is wrong with the providers of a run configuration, a line for each thing."""

    problems: list[str] = field(default_factory=list)
    missing: list[str] = field(default_factory=list)  # packages
    warnings: list[str] = field(default_factory=list)


def inspect_providers(configuration: StackConfig, registry: Registry, source: str) -> Findings:
    """As `import_providers`, but all findings are returned."""
    findings = Findings()
    for api, provider in list(_running(configuration)):
        place = f"providers.{api.value}.{provider.provider_id}"
        specification = registry.get(api, {}).get(provider.provider_type)
        if specification is None:
            findings.problems.append(
                f"{source}: {place}: {_no_such_type(provider.provider_type, api, registry)}"
            )
            continue
        try:
            _import(specification.module)
            findings.warnings.extend(
                f"{source}: {place}.config.{key}: is not a setting of {provider.provider_type}; has no effect"
                for key in _checked(provider, specification.config_class)
            )
        except ValidationError as error:
            findings.problems.extend(f"{source}: {line}" for line in _lines(error, f"{place}.config"))
        except ModuleNotFoundError as error:
            lack = f"needs the Python package {error.name!r}, which is not installed"
            if api.value in _SPARED:
                _leave_out(configuration, api, provider)
                findings.warnings.append(f"{source}: {place}: is left out; {provider.provider_type} {lack}")
            else:
                findings.missing.append(f"{place}: provider {provider.provider_type} {lack}")
        except ImportError as error:
            reason = " ".join(str(error).split())
            findings.missing.append(
                f"{place}: provider {provider.provider_type} cannot be imported: {reason}"
            )
    _check_dependencies(configuration, registry, source, findings)
    return findings


def _import(name: str) -> None:
    """Import a provider's module, and what it imports only when the provider is made."""
    module = importlib.import_module(name)
    for later in _imported_later(module):
        importlib.import_module(later)


def _imported_later(module: ModuleType) -> Iterator[str]:
    factory = next((getattr(module, name) for name in _FACTORIES if hasattr(module, name)), None)
    if factory is None or not (module.__package__ or "").startswith("llama_stack."):
        return  # the code of others may import under conditions
    try:
        tree = ast.parse(textwrap.dedent(inspect.getsource(factory)))
    except (OSError, TypeError, SyntaxError):
        return
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom):
            yield resolve_name("." * node.level + (node.module or ""), module.__package__)


def _checked(provider: Provider, config_class: str) -> list[str]:
    """Validate the settings, put texts where texts are wanted, and return the keys that nothing reads."""
    model = instantiate_class_type(config_class)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        _, values = with_texts(model.model_validate, provider.config)
    provider.config = dict(values)
    return list(unknown_keys(model, values))


def _check_dependencies(
    configuration: StackConfig, registry: Registry, source: str, findings: Findings
) -> None:
    """The stack itself fails with the name of an API that no provider offers."""
    routers = {pair.routing_table_api: pair.router_api for pair in builtin_automatically_routed_apis()}
    providable = set(registry)
    again = True
    while again:
        again = False
        offered = {api for api, _ in _running(configuration)}
        for api, provider in list(_running(configuration)):
            specification = registry.get(api, {}).get(provider.provider_type)
            wanted = {routers.get(other, other) for other in getattr(specification, "api_dependencies", ())}
            lacking = sorted(other.value for other in wanted & (providable - offered))
            if not lacking:
                continue
            place = f"{source}: providers.{api.value}.{provider.provider_id}"
            if api.value in _SPARED:
                _leave_out(configuration, api, provider)
                findings.warnings.append(f"{place}: is left out; nothing provides {', '.join(lacking)}")
                again = True
                break
            findings.problems.append(f"{place}: needs a provider of {', '.join(lacking)}")


def _leave_out(configuration: StackConfig, api: Api, provider: Provider) -> None:
    rest = [other for other in configuration.providers[api.value] if other is not provider]
    configuration.providers[api.value] = rest
    if not rest:
        del configuration.providers[api.value]
        configuration.apis = [name for name in configuration.apis if name != api.value]


def _no_such_type(kind: str, api: Api, registry: Registry) -> str:
    text = f"there is no provider type {kind!r} for {api.value}"
    close = difflib.get_close_matches(kind, registry.get(api, {}), n=1, cutoff=0.8)
    return f"{text}; did you mean {close[0]!r}?" if close else text


def _running(configuration: StackConfig) -> Iterator[tuple[Api, Provider]]:
    for api, providers in configuration.providers.items():
        for provider in providers:
            if provider.provider_id and provider.provider_id != "__disabled__":
                yield Api(api), provider


def _lines(error: ValidationError, prefix: str) -> Iterator[str]:
    for detail in error.errors(include_input=False, include_url=False, include_context=False):
        path = ".".join(part for part in (prefix, *map(str, detail["loc"])) if part)
        yield f"{path}: {detail['msg'].removeprefix('Value error, ')}"
