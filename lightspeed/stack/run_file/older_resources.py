"""Models, shields and stores of run configurations for llama-stack before 0.7."""

from collections.abc import Iterator
from typing import Any

from lightspeed.stack.run_file.tree import Tree

_KINDS = {
    "models": "model_id",
    "shields": "shield_id",
    "vector_stores": "vector_store_id",
    "datasets": "dataset_id",
    "scoring_fns": "scoring_fn_id",
    "benchmarks": "benchmark_id",
}
_STORE_KEYS = {
    "vector_db_id": "vector_store_id",
    "provider_vector_db_id": "provider_vector_store_id",
    "vector_db_name": "vector_store_name",
}


def upgrade_resources(tree: Tree) -> Iterator[str]:
    """Move what is registered to `registered_resources`; yields one line for each change."""
    resources = tree.get("registered_resources")
    if resources is not None and not isinstance(resources, dict):
        return
    new: Tree = dict(resources or {})
    yield from _stores_from_databases(new, new, "registered_resources.vector_dbs")
    for kind, identifier in _KINDS.items():
        # `vector_stores` at the top is a section of its own: the defaults of stores.
        if kind != "vector_stores":
            yield from _moved(new, kind, identifier, tree)
    yield from _stores_from_databases(new, tree, "vector_dbs")
    for holder, place in ((new, "registered_resources.tool_groups"), (tree, "tool_groups")):
        groups = holder.pop("tool_groups", None)
        if groups:
            yield (
                f"{place}: has no effect; MCP servers belong in `mcp_servers` of the service's file,"
                " other groups come with their providers"
            )
    _whole_model_names(new)
    if new or resources is not None:
        tree["registered_resources"] = new


def _moved(new: Tree, kind: str, identifier: str, tree: Tree) -> Iterator[str]:
    if kind not in tree:
        return
    old = tree.pop(kind)
    if not isinstance(old, list):
        if old:
            yield f"{kind}: is not a list; has no effect"
        return
    if not old:
        return
    there = [entry for entry in new.get(kind) or () if isinstance(entry, dict)]
    known = {entry.get(identifier) for entry in there}
    added = [entry for entry in old if not isinstance(entry, dict) or entry.get(identifier) not in known]
    new[kind] = [*(new.get(kind) or ()), *added]
    yield f"{kind}: is in `registered_resources` now"


def _stores_from_databases(new: Tree, holder: Tree, place: str) -> Iterator[str]:
    old = holder.pop("vector_dbs", None)
    if not old or not isinstance(old, list):
        return
    stores = list(new.get("vector_stores") or ())
    known = {store.get("vector_store_id") for store in stores if isinstance(store, dict)}
    for entry in old:
        store = (
            {_STORE_KEYS.get(key, key): value for key, value in entry.items()}
            if isinstance(entry, dict)
            else entry
        )
        if not isinstance(store, dict) or store.get("vector_store_id") not in known:
            stores.append(store)
    new["vector_stores"] = stores
    yield f"{place}: is `registered_resources.vector_stores` now"


def _whole_model_names(new: Tree) -> None:
    """A store names its embedding model as `provider/model` now; earlier, by the id of a registered model."""
    names: dict[Any, str] = {
        model["model_id"]: f"{model['provider_id']}/{model.get('provider_model_id') or model['model_id']}"
        for model in new.get("models") or ()
        if isinstance(model, dict) and model.get("model_id") and model.get("provider_id")
    }
    whole = set(names.values())
    stores = new.get("vector_stores")
    for store in stores if isinstance(stores, list) else ():
        given = store.get("embedding_model") if isinstance(store, dict) else None
        if isinstance(given, str) and given not in whole and given in names:
            store["embedding_model"] = names[given]
