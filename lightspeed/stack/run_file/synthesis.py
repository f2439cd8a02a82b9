"""A run configuration without a run.yaml: made from the service's own file, in memory."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lightspeed.configuration.rag import OKP
from lightspeed.configuration.root import Configuration
from lightspeed.errors import ConfigurationError, StartupError
from lightspeed.stack.run_configuration import read_run_file
from lightspeed.stack.run_file.model_providers import model_providers
from lightspeed.stack.run_file.tree import Tree

_PACKAGE = Path(__file__).resolve().parents[2]
_INGESTED = "knowledge"  # the store that `lightspeed ingest` fills unless told otherwise


def synthesised(configuration: Configuration, environment: Mapping[str, str], state: Path) -> Tree:
    """The run configuration that the sections `inference`, `rag` and `llama_stack.config` ask for.

    It begins with the run.yaml that comes with the service, whose data is below `state`; that offers OpenAI's
    models if there is a key for them, and a local one. `inference.providers` replaces these models. Raises
    ConfigurationError with one line for each mistake, beginning with the key in the service's file.
    """
    settings = configuration.llama_stack.config
    if settings is not None and settings.profile is not None:
        tree = read_run_file(settings.profile, environment)
    elif settings is not None and settings.baseline == "empty":
        tree = {"providers": {}}
    else:
        tree = read_run_file(bundled_run_file(), {**environment, "LIGHTSPEED_STATE": str(state)})
        tree["registered_resources"] = {
            **tree["registered_resources"],
            "vector_stores": _stores(tree, configuration),
        }
    if configuration.inference.providers:
        new = model_providers(configuration.inference.providers, environment)
        _set_models(tree, new, keep=settings is not None and settings.profile is not None)
    if settings is not None:
        tree = merged(tree, settings.native_override)
    return tree


def bundled_run_file() -> Path:
    """The run.yaml that comes with the service. Raises StartupError when it has been removed."""
    for folder in (_PACKAGE / "config", _PACKAGE.parent / "config"):
        if (folder / "run.yaml").is_file():
            return folder / "run.yaml"
    raise StartupError("the run.yaml that comes with the service is missing; install the package again")


def merged(tree: Mapping[str, Any], override: Mapping[str, Any]) -> Tree:
    """The tree with parts replaced: mappings are merged, all else is replaced."""
    result = dict(tree)
    for key, value in override.items():
        below = result.get(key)
        if isinstance(below, Mapping) and isinstance(value, Mapping):
            value = merged(below, value)
        result[key] = value
    return result


def _stores(tree: Tree, configuration: Configuration) -> list[Tree]:
    """A store for each id in `rag` that nothing else stands for, all like those of the bundled file."""
    like = tree["registered_resources"]["vector_stores"][0]
    others = {OKP, *(entry.rag_id for entry in configuration.byok_rag)}
    others |= {entry.vector_db_id for entry in configuration.byok_rag}
    wanted = dict.fromkeys([_INGESTED, *configuration.rag.inline, *configuration.rag.tool])
    return [like | {"vector_store_id": name} for name in wanted if name not in others]


def _set_models(tree: Tree, providers: list[Tree], *, keep: bool) -> None:
    """Replace the providers of chat models; those of embeddings stay, and with `keep` all, unless an entry has their id."""
    sections = tree.get("providers")
    if not isinstance(sections, dict):
        raise ConfigurationError("llama_stack.config.profile: providers: must be a mapping of APIs to lists")
    models = (tree.get("registered_resources") or {}).get("models") or ()
    embedding = {model.get("provider_id") for model in models if model.get("model_type") == "embedding"}
    new = {provider["provider_id"] for provider in providers}
    kept = [
        provider
        for provider in sections.get("inference") or ()
        if (keep or provider.get("provider_id") in embedding) and provider.get("provider_id") not in new
    ]
    tree["providers"] = {**sections, "inference": [*providers, *kept]}
    apis = tree.get("apis")
    if isinstance(apis, list) and "inference" not in apis:
        tree["apis"] = [*apis, "inference"]
