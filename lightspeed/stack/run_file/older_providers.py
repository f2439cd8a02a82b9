"""Providers of run configurations for llama-stack before 0.7: their types, and the keys of their settings."""

from collections.abc import Iterator
from urllib.parse import urlsplit

from lightspeed.stack.run_file.tree import Tree, place_of, providers_of

_RENAMED_TYPES = {
    ("responses", "inline::meta-reference"): "inline::builtin",
    ("eval", "inline::meta-reference"): "inline::builtin",
    ("tool_runtime", "inline::rag-runtime"): "inline::file-search",
    ("vector_io", "inline::meta-reference"): "inline::faiss",
    ("vector_io", "inline::builtin"): "inline::faiss",
    ("vector_io", "inline::sqlite_vec"): "inline::sqlite-vec",
}
_PORTAL = "remote::solr_vector_io"
_OLDER_ADDRESSES = ("url", "api_base", "openai_compat_api_base")

# Where the former adapters completed an address by themselves.
_COMPLETED_PATHS = {
    "remote::ollama": "/v1",
    "remote::nvidia": "/v1",
    "remote::cerebras": "/v1",
    "remote::groq": "/openai/v1",
    "remote::databricks": "/serving-endpoints",
}


def upgrade_providers(tree: Tree) -> Iterator[str]:
    """Change the providers of the tree, API names being new already; yields one line for each change."""
    yield from _portal(tree)
    for api, provider in providers_of(tree):
        place = place_of(api, provider)
        old = provider.get("provider_type")
        new = _RENAMED_TYPES.get((api, str(old)))
        if new and not provider.get("module"):
            provider["provider_type"] = new
            yield f"{place}: the type `{old}` is `{new}` now"
        if provider.get("config") is None:
            provider["config"] = {}
        if api == "inference":
            yield from _addresses(place, provider)


def _portal(tree: Tree) -> Iterator[str]:
    """The service searches the Offline Knowledge Portal by itself."""
    providers = tree.get("providers")
    if not isinstance(providers, dict) or tree.get("external_providers_dir"):
        return
    entries = providers.get("vector_io")
    if not isinstance(entries, list):
        return
    gone = [
        entry
        for entry in entries
        if isinstance(entry, dict) and entry.get("provider_type") == _PORTAL and not entry.get("module")
    ]
    if not gone:
        return
    providers["vector_io"] = [entry for entry in entries if entry not in gone]
    ids = {entry.get("provider_id") for entry in gone}
    for entry in gone:
        yield (
            f"{place_of('vector_io', entry)}: left out; `okp` in `rag` of the service's file searches the portal"
        )
    resources = tree.get("registered_resources")
    for holder, key in ((resources, "vector_stores"), (resources, "vector_dbs"), (tree, "vector_dbs")):
        stores = holder.get(key) if isinstance(holder, dict) else None
        if isinstance(holder, dict) and isinstance(stores, list):
            holder[key] = [
                store for store in stores if not (isinstance(store, dict) and store.get("provider_id") in ids)
            ]


def _addresses(place: str, provider: Tree) -> Iterator[str]:
    kind, config = str(provider.get("provider_type")), provider["config"]
    if not kind.startswith("remote::") or not isinstance(config, dict) or provider.get("module"):
        return
    for old in _OLDER_ADDRESSES:
        if old not in config:
            continue
        address = config.pop(old)
        if config.get("base_url"):
            yield f"{place}.config.{old}: has no effect beside `base_url`"
        else:
            config["base_url"] = _completed(kind, address)
            yield f"{place}.config.{old}: is `base_url` now"
    yield from _certificates(place, config)


def _certificates(place: str, config: Tree) -> Iterator[str]:
    if "tls_verify" not in config:
        return
    verify = config.pop("tls_verify")
    if isinstance(verify, str) and verify.lower() in {"true", "false"}:
        # As text it would be the path of a certificate.
        verify = verify.lower() == "true"
    network = config.get("network") or {}
    tls = network.get("tls") or {} if isinstance(network, dict) else None
    if not isinstance(tls, dict) or "verify" in tls:
        yield f"{place}.config.tls_verify: has no effect beside `network`"
    elif verify is not None:
        config["network"] = {**network, "tls": {**tls, "verify": verify}}
        yield f"{place}.config.tls_verify: is `network.tls.verify` now"


def _completed(kind: str, address: object) -> object:
    path = _COMPLETED_PATHS.get(kind)
    if path is None or not isinstance(address, str) or urlsplit(address).path.strip("/"):
        return address
    return address.rstrip("/") + path
