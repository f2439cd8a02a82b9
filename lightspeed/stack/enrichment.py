"""What the service's own configuration adds to the run configuration of the stack. Nothing is written to disk."""

import os
from collections.abc import Iterator, Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from lightspeed.configuration.fields import path_trouble
from lightspeed.configuration.rag import ByokRag
from lightspeed.errors import ConfigurationError, StorageError
from lightspeed.stack.passages import EmbeddingModel

_STOCK_FAISS = "inline::faiss"
_OUR_FAISS = {
    "provider_type": "inline::faiss-sqlite",
    "module": "lightspeed.stack.providers.faiss_sqlite",
}
_OUR_FILES = {
    "provider_type": "inline::local-files",
    "module": "lightspeed.stack.providers.local_files",
}
_SENTENCE_TRANSFORMERS = "sentence-transformers"

type Tree = dict[str, Any]


def enriched(
    run_configuration: Mapping[str, Any],
    byok: Sequence[ByokRag],
    source: Path,
    state: Path,
    portal_model: EmbeddingModel | None = None,
) -> dict[str, Any]:
    """The run configuration with the user's own stores. Entries that it has already are left as they are.

    A provider of the stack's `inline::faiss` becomes ours, which reads the database that the stack's own would use and
    leaves it as it is. `portal_model` embeds the questions for the Offline Knowledge Portal. `state` is where our
    providers keep their data unless told otherwise. `source` is the service's configuration file. Raises ConfigurationError with one line for each mistake.
    """
    tree: Tree = {**run_configuration}
    tree["providers"] = {api: list(items or ()) for api, items in (tree.get("providers") or {}).items()}
    tree["registered_resources"] = {
        kind: list(items or ()) for kind, items in (tree.get("registered_resources") or {}).items()
    }
    _replace_stock_faiss(tree, state)
    _forget_missing_imports(tree)
    problems: list[str] = []
    for position, entry in enumerate(byok):
        problems += [f"{source}: byok_rag[{position}].{line}" for line in _add_store(tree, entry, state)]
    if problems:
        raise ConfigurationError(problems)
    if portal_model is not None:
        _add_portal_model(tree, portal_model)
    if tree["providers"].get("vector_io"):
        _add_files(tree, state)
        _add_defaults(tree)
    return tree


def _replace_stock_faiss(tree: Tree, state: Path) -> None:
    providers = tree["providers"].get("vector_io") or []
    for position, provider in enumerate(providers):
        if provider.get("provider_type") != _STOCK_FAISS or provider.get("module"):
            continue
        database = _stock_database(tree, provider)
        if database is not None:
            providers[position] = {
                **_OUR_FAISS,
                "provider_id": provider.get("provider_id"),
                "config": {
                    "path": str(_folder_beside(database, state)),
                    "import_from": str(database),
                },
            }


def _forget_missing_imports(tree: Tree) -> None:
    """A store that is to grow may begin without the database of an earlier one."""
    providers = tree["providers"].get("vector_io") or []
    for position, provider in enumerate(providers):
        config = provider.get("config") or {}
        source = config.get("import_from")
        if source and not config.get("read_only") and _is_missing(Path(str(source)).expanduser()):
            kept = {key: value for key, value in config.items() if key != "import_from"}
            providers[position] = {**provider, "config": kept}


def _is_missing(path: Path) -> bool:
    """False where it cannot be told: who opens the path says why."""
    return not path_trouble(path) and not path.exists()


def _stock_database(tree: Tree, provider: Mapping[str, Any]) -> Path | None:
    """The SQLite file of a stock provider; None for other backends, which stay with the stock provider."""
    backends = (tree.get("storage") or {}).get("backends") or {}
    persistence = (provider.get("config") or {}).get("persistence") or {}
    backend = backends.get(persistence.get("backend")) or {}
    path = backend.get("db_path")
    if backend.get("type") != "kv_sqlite" or not path or path == ":memory:":
        return None
    return Path(str(path)).expanduser()


def _folder_beside(database: Path, state: Path) -> Path:
    beside = database.with_name(f"{database.name}.lightspeed")
    if (not path_trouble(beside) and beside.exists()) or os.access(database.parent, os.W_OK):
        return beside
    return state / "knowledge" / database.name


def _add_store(tree: Tree, entry: ByokRag, state: Path) -> Iterator[str]:
    provider_id = f"byok_{entry.rag_id}"
    if _misses_sentence_transformers(tree, entry):
        yield f"embedding_model: `{entry.embedding_model}` needs the Python package sentence-transformers, which is not installed"
        return
    providers = tree["providers"].setdefault("vector_io", [])
    if not any(provider.get("provider_id") == provider_id for provider in providers):
        problem = _problem(entry)
        if problem:
            yield problem
            return
        providers.append({**_OUR_FAISS, "provider_id": provider_id, "config": _provider_config(entry, state)})
    stores = tree["registered_resources"].setdefault("vector_stores", [])
    if not any(store.get("vector_store_id") == entry.vector_db_id for store in stores):
        stores.append(
            {
                "vector_store_id": entry.vector_db_id,
                "provider_id": provider_id,
                "embedding_model": _add_embedding_model(tree, entry),
                "embedding_dimension": entry.embedding_dimension,
            }
        )
    _add_api(tree, "vector_io")


def _problem(entry: ByokRag) -> str | None:
    if entry.rag_type == _OUR_FAISS["provider_type"]:
        return None if entry.db_path.is_dir() else f"db_path: {entry.db_path} is not a folder of stores"
    if entry.rag_type != _STOCK_FAISS:
        return f"rag_type: `{entry.rag_type}` is neither `{_STOCK_FAISS}` nor `{_OUR_FAISS['provider_type']}`"
    # Imported here, because FAISS is not needed where no store is.
    from lightspeed.stack.providers.faiss_sqlite.stock_store import stock_stores

    if reason := path_trouble(entry.db_path):
        return f"db_path: {entry.db_path} {reason}"
    if not entry.db_path.is_file():
        what = "is not a file" if entry.db_path.exists() else "does not exist"
        return f"db_path: {entry.db_path} {what}"
    try:
        stores = {store.id: store for store in stock_stores(entry.db_path)}
    except StorageError as error:
        return f"db_path: {error.cause}"
    store = stores.get(entry.vector_db_id)
    if store is None:
        there = ", ".join(stores) or "none"
        return f"vector_db_id: `{entry.vector_db_id}` is not in {entry.db_path}; there: {there}"
    if store.dimension is not None and store.dimension != entry.embedding_dimension:
        return f"embedding_dimension: the vectors in {entry.db_path} have {store.dimension}"
    return None


def _provider_config(entry: ByokRag, state: Path) -> Tree:
    if entry.rag_type == _OUR_FAISS["provider_type"]:
        return {"path": str(entry.db_path), "read_only": True}
    return {
        "path": str(state / "knowledge" / f"byok_{entry.rag_id}"),
        "import_from": str(entry.db_path),
        "read_only": True,
    }


def _misses_sentence_transformers(tree: Tree, entry: ByokRag) -> bool:
    provided = entry.embedding_model.partition("/")[0] in _inference_providers(tree)
    return not provided and find_spec("sentence_transformers") is None


def _inference_providers(tree: Tree) -> set[str]:
    return {provider.get("provider_id") for provider in tree["providers"].get("inference") or ()}


def _add_embedding_model(tree: Tree, entry: ByokRag) -> str:
    """The name by which the stack knows the model that made the vectors; it is registered if need be."""
    prefix = entry.embedding_model.partition("/")[0]
    if prefix != _SENTENCE_TRANSFORMERS and prefix in _inference_providers(tree):
        return entry.embedding_model
    name = entry.embedding_model.removeprefix(f"{_SENTENCE_TRANSFORMERS}/")
    _add_sentence_transformers_model(tree, f"byok_{entry.rag_id}_embedding", name, entry.embedding_dimension)
    return f"{_SENTENCE_TRANSFORMERS}/{name}"


def _add_portal_model(tree: Tree, model: EmbeddingModel) -> None:
    """Without the package the portal is searched by words only."""
    prefix, _, name = model.name.partition("/")
    if prefix == _SENTENCE_TRANSFORMERS and find_spec("sentence_transformers") is not None:
        _add_sentence_transformers_model(tree, "solr_embedding", name, model.dimension)


def _add_sentence_transformers_model(tree: Tree, model_id: str, name: str, dimension: int) -> None:
    """Register an embedding model unless it is there, and its provider."""
    inference = tree["providers"].setdefault("inference", [])
    if _SENTENCE_TRANSFORMERS not in _inference_providers(tree):
        provider_type = f"inline::{_SENTENCE_TRANSFORMERS}"
        inference.append(
            {"provider_id": _SENTENCE_TRANSFORMERS, "provider_type": provider_type, "config": {}}
        )
    models = tree["registered_resources"].setdefault("models", [])
    if not any(
        model.get("provider_id") == _SENTENCE_TRANSFORMERS and model.get("provider_model_id") == name
        for model in models
    ):
        models.append(
            {
                "model_id": model_id,
                "provider_id": _SENTENCE_TRANSFORMERS,
                "provider_model_id": name,
                "model_type": "embedding",
                "metadata": {"embedding_dimension": dimension},
            }
        )
    _add_api(tree, "inference")


def _add_files(tree: Tree, state: Path) -> None:
    """Files can be uploaded wherever there are stores to attach them to."""
    if not tree["providers"].get("files"):
        config = {"path": str(state / "files")}
        tree["providers"]["files"] = [{**_OUR_FILES, "provider_id": "local", "config": config}]
    _add_api(tree, "files")


def _add_defaults(tree: Tree) -> None:
    """Where new stores are made, and with which embeddings, when a client does not say."""
    defaults = {**(tree.get("vector_stores") or {})}
    writable = [
        provider["provider_id"]
        for provider in tree["providers"]["vector_io"]
        if provider.get("provider_id") and not (provider.get("config") or {}).get("read_only")
    ]
    if writable:
        defaults.setdefault("default_provider_id", writable[0])
    model = _first_embedding_model(tree)
    if model is not None:
        defaults.setdefault("default_embedding_model", model)
    tree["vector_stores"] = defaults


def _first_embedding_model(tree: Tree) -> Tree | None:
    for model in tree["registered_resources"].get("models") or ():
        if model.get("model_type") == "embedding" and model.get("provider_id"):
            return {
                "provider_id": model["provider_id"],
                "model_id": model.get("provider_model_id") or model.get("model_id"),
                "embedding_dimensions": (model.get("metadata") or {}).get("embedding_dimension"),
            }
    return None


def _add_api(tree: Tree, api: str) -> None:
    apis = tree.get("apis")
    if apis is not None and api not in apis:
        tree["apis"] = [*apis, api]
