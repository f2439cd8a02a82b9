"""What can be said of a run configuration without starting, or even importing, the stack."""

import difflib
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from lightspeed.configuration.substitution import DecimalNumber, WholeNumber
from lightspeed.stack.run_file.tree import Tree, is_switched_on

_APIS = frozenset(
    {
        "batches", "benchmarks", "connectors", "conversations", "datasetio", "datasets", "eval",
        "file_processors", "files", "inference", "models", "prompts", "responses", "safety", "scoring",
        "scoring_functions", "shields", "tool_groups", "tool_runtime", "vector_io", "vector_stores",
        "admin", "inspect", "providers",
    }
)  # fmt: skip
_RESOURCES = {
    "models": ("model_id", "inference"),
    "shields": ("shield_id", "safety"),
    "vector_stores": ("vector_store_id", "vector_io"),
}


def shape_problems(tree: Mapping[str, Any]) -> Iterator[str]:
    """One line for each part that is not of the kind that the rest of the service relies on. No line holds a value."""
    yield from _api_problems(tree)
    providers = tree.get("providers")
    if not isinstance(providers, dict):
        yield (
            "providers: is required" if providers is None else "providers: must be a mapping of APIs to lists"
        )
    else:
        for api, entries in providers.items():
            yield from _provider_problems(api, entries, known=_knows_all_apis(tree))
    resources = tree.get("registered_resources")
    if resources is not None and not isinstance(resources, dict):
        yield "registered_resources: must be a mapping of kinds to lists"
    for kind, entries in resources.items() if isinstance(resources, dict) else ():
        identifier, _ = _RESOURCES.get(kind, ("", ""))
        yield from _entry_problems(f"registered_resources.{kind}", entries, identifier)
    yield from _storage_problems(tree.get("storage"))


def reference_problems(tree: Mapping[str, Any]) -> Iterator[str]:
    """One line for each registered model, shield or store whose provider is not configured."""
    resources = tree.get("registered_resources") or {}
    for kind, (identifier, api) in _RESOURCES.items():
        entries = (tree.get("providers") or {}).get(api) or ()
        there = [str(entry["provider_id"]) for entry in entries if is_switched_on(entry)]
        for position, entry in enumerate(resources.get(kind) or ()):
            wanted = entry.get("provider_id")
            if wanted and wanted != "__disabled__" and wanted not in there:
                name = entry.get(identifier) or position
                yield (
                    f"registered_resources.{kind}.{name}.provider_id: there is no provider `{wanted}` for {api};"
                    f" there: {', '.join(there) or 'none'}"
                )


def default_model_warnings(tree: Mapping[str, Any], provider: str | None, model: str | None) -> Iterator[str]:
    """One line when no provider can offer the model that answers where a request names none."""
    if provider is None:
        return
    entries = [
        entry for entry in (tree.get("providers") or {}).get("inference") or () if is_switched_on(entry)
    ]
    chosen = [entry for entry in entries if entry["provider_id"] == provider]
    if not chosen:
        there = ", ".join(str(entry["provider_id"]) for entry in entries) or "none"
        yield f"inference.default_provider: there is no provider `{provider}`; there: {there}"
    for entry in chosen:
        allowed = (entry.get("config") or {}).get("allowed_models")
        if isinstance(allowed, list) and allowed and model not in allowed:
            yield f"inference.default_model: `{model}` is not among the `allowed_models` of `{provider}`"


def without_repeated_stores(tree: Tree) -> Iterator[str]:
    """Keep the first of several vector_io providers with one id; yields one line for each that is left out."""
    providers = tree.get("providers")
    if not isinstance(providers, dict) or not isinstance(entries := providers.get("vector_io"), list):
        return
    seen: set[Any] = set()
    kept = []
    for entry in entries:
        name = entry.get("provider_id") if isinstance(entry, dict) else None
        if isinstance(name, str) and name in seen:
            yield f"providers.vector_io.{name}: is given twice; the first one is used"
        else:
            seen.add(name if isinstance(name, str) else None)
            kept.append(entry)
    providers["vector_io"] = kept


def _knows_all_apis(tree: Mapping[str, Any]) -> bool:
    return not tree.get("external_apis_dir")


def _api_problems(tree: Mapping[str, Any]) -> Iterator[str]:
    apis = tree.get("apis")
    if apis is None:
        return
    if not isinstance(apis, list):
        yield "apis: must be a list"
        return
    for position, api in enumerate(apis):
        if not isinstance(api, str):
            yield f"apis[{position}]: must be text"
        elif api not in _APIS and _knows_all_apis(tree):
            yield f"apis[{position}]: {_no_such_api(api)}"


def _no_such_api(api: str) -> str:
    close = difflib.get_close_matches(api, _APIS, n=1)
    return f"there is no API `{api}`" + (f"; did you mean `{close[0]}`?" if close else "")


def _provider_problems(api: str, entries: object, *, known: bool) -> Iterator[str]:
    place = f"providers.{api}"
    if known and api not in _APIS:
        yield f"{place}: {_no_such_api(api)}"
        return
    yield from _entry_problems(place, entries, "provider_type")
    valid = [entry for entry in _mappings(entries) if is_switched_on(entry)]
    for position, entry in enumerate(_mappings(entries)):
        if "provider_id" not in entry:
            yield f"{place}[{position}].provider_id: is required"
        elif not _is_text(entry["provider_id"]):
            yield f"{place}[{position}].provider_id: must be text; put the value in quotes"
        if entry.get("config") is not None and not isinstance(entry["config"], dict):
            yield f"{place}[{position}].config: must be a mapping of keys to values"
    names = [str(entry["provider_id"]) for entry in valid]
    for name in sorted({name for name in names if names.count(name) > 1}):
        yield f"{place}.{name}: is the id of {names.count(name)} providers"


def _is_text(value: object) -> bool:
    """A number that a variable gave is made text later."""
    return value is None or isinstance(value, str | WholeNumber | DecimalNumber)


def _entry_problems(place: str, entries: object, required: str) -> Iterator[str]:
    if entries is None:
        return
    if not isinstance(entries, list):
        yield f"{place}: must be a list"
        return
    for position, entry in enumerate(entries):
        if not isinstance(entry, dict):
            yield f"{place}[{position}]: must be a section with keys"
        elif required and entry.get(required) in (None, ""):
            yield f"{place}[{position}].{required}: is required"


def _mappings(entries: object) -> Iterable[Tree]:
    return [entry for entry in entries if isinstance(entry, dict)] if isinstance(entries, list) else []


def _storage_problems(storage: object) -> Iterator[str]:
    if storage is None:
        return
    if not isinstance(storage, dict):
        yield "storage: must be a section with keys"
        return
    for key in ("backends", "stores"):
        if not isinstance(storage.get(key) or {}, dict):
            yield f"storage.{key}: must be a mapping of keys to values"
        elif key == "backends":
            for name, backend in (storage.get(key) or {}).items():
                if not isinstance(backend, dict):
                    yield f"storage.backends.{name}: must be a section with keys"
