"""Whether the stores that are to be searched can exist."""

from collections.abc import Iterator, Mapping
from typing import Any

from lightspeed.configuration.rag import OKP
from lightspeed.configuration.root import Configuration
from lightspeed.stack.run_file.tree import is_switched_on


def impossible_stores(configuration: Configuration, tree: Mapping[str, Any]) -> Iterator[str]:
    """One line for each id in `rag` that no store can have.

    While stores can be made, by `lightspeed ingest` or over REST, an unknown id may be one of them: only the
    running stack knows.
    """
    if any(_can_be_written(provider) for provider in (tree.get("providers") or {}).get("vector_io") or ()):
        return
    known = known_stores(configuration, tree)
    for kind, ids in (("inline", configuration.rag.inline), ("tool", configuration.rag.tool)):
        for position, identifier in enumerate(ids):
            if identifier not in known:
                yield (
                    f"rag.{kind}[{position}]: `{identifier}` is neither a `rag_id` nor a store of run.yaml,"
                    " which has no provider that could hold others"
                )


def known_stores(configuration: Configuration, tree: Mapping[str, Any]) -> set[str]:
    """The ids in both files that `rag` may name."""
    registered = (tree.get("registered_resources") or {}).get("vector_stores") or ()
    return {
        OKP,
        *(str(store.get("vector_store_id")) for store in registered),
        *(entry.rag_id for entry in configuration.byok_rag),
        *(entry.vector_db_id for entry in configuration.byok_rag),
    }


def _can_be_written(provider: Mapping[str, Any]) -> bool:
    return is_switched_on(dict(provider)) and not (provider.get("config") or {}).get("read_only")
