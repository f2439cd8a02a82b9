"""Walking through a run configuration that nothing has validated yet."""

from collections.abc import Iterator
from typing import Any

type Tree = dict[str, Any]


def providers_of(tree: Tree) -> Iterator[tuple[str, Tree]]:
    """API and entry of each provider that is a mapping."""
    providers = tree.get("providers")
    for api, entries in providers.items() if isinstance(providers, dict) else ():
        for entry in entries if isinstance(entries, list) else ():
            if isinstance(entry, dict):
                yield str(api), entry


def place_of(api: str, provider: Tree) -> str:
    """Where a provider stands, as messages tell it: `providers.inference.openai`."""
    return f"providers.{api}.{provider.get('provider_id') or provider.get('provider_type') or '?'}"


def is_switched_on(provider: Tree) -> bool:
    """Whether a variable has not emptied the provider's id."""
    return provider.get("provider_id") not in (None, "", "__disabled__")
