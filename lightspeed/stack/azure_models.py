"""What `azure_entra_id` means for the run configuration."""

from collections.abc import Iterator, Mapping
from typing import Any

from lightspeed.stack.run_file.tree import is_switched_on

AZURE = "remote::azure"


def azure_problems(tree: Mapping[str, Any]) -> Iterator[str]:
    """One line for each Azure provider that cannot be asked, because it has no address."""
    for provider in _providers(tree):
        if not (provider.get("config") or {}).get("base_url"):
            name = provider.get("provider_id")
            yield f"providers.inference.{name}.config.base_url: is required"


def azure_warnings(tree: Mapping[str, Any]) -> Iterator[str]:
    """One line when nothing uses the tokens."""
    if not _providers(tree):
        yield f"azure_entra_id: has no effect, because no model provider is of the type `{AZURE}`"


def _providers(tree: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    return [
        provider
        for provider in (tree.get("providers") or {}).get("inference") or ()
        if provider.get("provider_type") == AZURE and is_switched_on(provider)
    ]
