"""Looking at the providers of a run configuration without starting any."""

import logging
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lightspeed.errors import ConfigurationError, StartupError
from lightspeed.stack.environment import prepare_environment
from lightspeed.stack.run_file.tree import Tree, is_switched_on
from lightspeed.stack.weights import weights_path

_LLAMACPP, _ONNX = "inline::llamacpp", "inline::onnx"


@dataclass(frozen=True, slots=True)
class Inspection:
    """One line for each thing: `problems` prevent a start, `warnings` do not. All name the file."""

    problems: tuple[str, ...]
    warnings: tuple[str, ...]


def inspected(tree: Mapping[str, Any], source: Path) -> Inspection:
    """What the stack would refuse, and what it would pass over without a word.

    Imports the stack and the code of the providers, which takes seconds; loads no model and writes nothing.
    """
    prepare_environment()
    logging.getLogger("llama_stack").setLevel(logging.ERROR)
    from lightspeed.stack.providers_check import check_providers, inspect_providers, provider_types

    missing_weights = [f"{source}: {line}" for line in _weights(tree)]
    try:
        configuration = check_providers(tree, str(source))
        findings = inspect_providers(configuration, provider_types(configuration, str(source)), str(source))
    except ConfigurationError as error:
        return Inspection((*error.problems, *missing_weights), ())
    missing = [f"{source}: {line}" for line in findings.missing]
    return Inspection((*findings.problems, *missing, *missing_weights), tuple(findings.warnings))


def _weights(tree: Mapping[str, Any]) -> Iterator[str]:
    for provider in (tree.get("providers") or {}).get("inference") or ():
        if not is_switched_on(provider):
            continue
        place = f"providers.inference.{provider['provider_id']}.config"
        for key, reference in _references(provider):
            try:
                weights_path(reference)
            except StartupError as error:
                yield f"{place}.{key}: {error}"


def _references(provider: Tree) -> Iterator[tuple[str, str]]:
    config = provider.get("config") or {}
    if provider.get("provider_type") == _LLAMACPP and isinstance(config.get("model"), str):
        yield "model", config["model"]
    models = config.get("models") if provider.get("provider_type") == _ONNX else None
    for name, model in models.items() if isinstance(models, dict) else ():
        for key in ("directory", "tokenizer"):
            if isinstance(model, dict) and isinstance(model.get(key), str):
                yield f"models.{name}.{key}", model[key]
