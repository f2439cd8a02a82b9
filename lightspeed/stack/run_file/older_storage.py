"""Where run configurations for llama-stack before 0.4 kept their data: databases named in place, not by reference."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from lightspeed.stack.run_file.tree import Tree, place_of, providers_of

_KINDS = frozenset({"sqlite", "postgres", "redis", "mongodb"})

# Store of the stack: key at the top of older files, family of its database, name of what it holds.
_STORES = {
    "metadata": ("metadata_store", "kv", "registry"),
    "inference": ("inference_store", "sql", "inference_store"),
    "conversations": ("conversations_store", "sql", "openai_conversations"),
    "prompts": ("prompts_store", "kv", "prompts"),
    "connectors": ("connectors_store", "kv", "connectors"),
}
# Key of a provider's settings: where it is now, family of its database, name of what it holds.
_PROVIDER_STORES = {
    ("vector_io", "kvstore"): (("persistence",), "kv", "vector_io"),
    ("vector_io", "persistence"): (("persistence",), "kv", "vector_io"),
    ("responses", "persistence_store"): (("persistence", "agent_state"), "kv", "agents"),
    ("responses", "responses_store"): (("persistence", "responses"), "sql", "responses"),
    ("files", "metadata_store"): (("metadata_store",), "sql", "files_metadata"),
    ("batches", "kvstore"): (("kvstore",), "kv", "batches"),
    ("eval", "kvstore"): (("kvstore",), "kv", "eval"),
    ("datasetio", "kvstore"): (("kvstore",), "kv", "datasetio"),
}


def upgrade_storage(tree: Tree, state: Path) -> Iterator[str]:
    """Make `storage` whole: a database for each store, referred to by name. Yields one line for each change.

    `state` is the folder of the databases that the file does not name.
    """
    storage = tree.get("storage")
    if storage is not None and not isinstance(storage, dict):
        return
    storage = dict(storage or {})
    backends, stores = storage.get("backends") or {}, storage.get("stores") or {}
    if not isinstance(backends, dict) or not isinstance(stores, dict):
        return
    backends, stores = dict(backends), dict(stores)
    yield from _named_in_place(tree, backends, stores)
    yield from _providers(tree, backends)
    yield from _missing_backends(backends, state)
    _references(stores, backends)
    for api, provider in providers_of(tree):
        if api == "responses":
            _agent_state(provider, backends)
    tree["storage"] = {**storage, "backends": backends, "stores": stores}


def _named_in_place(tree: Tree, backends: Tree, stores: Tree) -> Iterator[str]:
    for store, (key, family, name) in _STORES.items():
        old = tree.pop(key, None)
        if old is None:
            continue
        if store in stores:
            yield f"{key}: has no effect beside `storage.stores.{store}`"
        elif _is_in_place(old):
            stores[store] = _reference(backends, f"{family}_{store}", family, old, name)
            yield f"{key}: is `storage.stores.{store}` now"


def _providers(tree: Tree, backends: Tree) -> Iterator[str]:
    for api, provider in providers_of(tree):
        config = provider.get("config")
        if not isinstance(config, dict):
            continue
        for (of_api, key), (place, family, name) in _PROVIDER_STORES.items():
            if of_api != api or not _is_in_place(config.get(key)):
                continue
            backend = f"{family}_{api}_{provider.get('provider_id')}"
            namespace = f"vector_io::{_bare(provider)}" if api == "vector_io" else name
            reference = _reference(backends, backend, family, config.pop(key), namespace)
            holder = config
            for part in place[:-1]:
                holder = holder.setdefault(part, {})
            holder[place[-1]] = reference
            yield f"{place_of(api, provider)}.config.{key}: its database is in `storage.backends` now"


def _bare(provider: Tree) -> str:
    return str(provider.get("provider_type")).rpartition("::")[2]


def _is_in_place(value: object) -> bool:
    return isinstance(value, dict) and value.get("type") in _KINDS and "backend" not in value


def _reference(backends: Tree, name: str, family: str, old: Tree, holds: str) -> Tree:
    settings = {key: value for key, value in old.items() if value is not None}
    namespace = settings.pop("namespace", holds)
    table = settings.pop("table_name", holds)
    backends[name] = settings | {"type": f"{family}_{settings['type']}"}
    return (
        {"backend": name, "namespace": namespace}
        if family == "kv"
        else {"backend": name, "table_name": table}
    )


def _missing_backends(backends: Tree, state: Path) -> Iterator[str]:
    for family, file in (("kv", "registry.db"), ("sql", "stack.db")):
        if _first(backends, family) is None:
            path = str(state / "stack" / file)
            backends[f"{family}_default"] = {"type": f"{family}_sqlite", "db_path": path}
            yield f"storage.backends: has no `{family}_` database; one in the state directory is used"


def _references(stores: Tree, backends: Tree) -> None:
    """The stack's own defaults name databases that need not be there."""
    for store, (_, family, name) in _STORES.items():
        given = stores.get(store, ...)
        key = "namespace" if family == "kv" else "table_name"
        if given is ... or (isinstance(given, dict) and family == "kv" and key not in given):
            # Later versions keep prompts in a table.
            holds = given.get("table_name", name) if isinstance(given, dict) else name
            stores[store] = {"backend": _first(backends, family), key: holds}


def _agent_state(provider: Tree, backends: Tree) -> None:
    config = provider.get("config")
    persistence = config.get("persistence") if isinstance(config, dict) else None
    if isinstance(persistence, dict):
        persistence.setdefault("agent_state", {"backend": _first(backends, "kv"), "namespace": "agents"})
        persistence.setdefault("responses", {"backend": _first(backends, "sql"), "table_name": "responses"})


def _first(backends: Tree, family: str) -> Any:
    default = f"{family}_default"
    if default in backends:
        return default
    return next(
        (
            name
            for name, settings in backends.items()
            if isinstance(settings, dict) and str(settings.get("type")).startswith(f"{family}_")
        ),
        None,
    )
