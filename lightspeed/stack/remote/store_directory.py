"""Which vector stores the server has, and what they are called here."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from lightspeed.errors import NotFound
from lightspeed.stack.passages import EmbeddingModel
from lightspeed.stack.remote.paths import segment
from lightspeed.stack.remote.server import StackServer
from lightspeed.stack.shared_call import SharedCall

STORE: Final = "Vector Store"

NAME_KEY: Final = "lightspeed_store"
"""The server gives each new store an id of its own. In its metadata stands what `lightspeed ingest` has called it."""

_PAGE = 100
_FRESH_FOR = 5.0  # seconds


@dataclass(frozen=True, slots=True)
class StoreEntry:
    """`id` is the server's, `name` what this service calls the store: mostly the same."""

    id: str
    name: str
    provider_id: str
    model: EmbeddingModel | None

    @property
    def path(self) -> str:
        return f"/vector_stores/{segment(self.id, STORE)}"


class StoreDirectory:
    """Methods raise ProviderUnavailable, and NotServed if the server has no vector stores."""

    def __init__(self, server: StackServer) -> None:
        self._server = server
        self._read = SharedCall(self._ask)
        self._entries: list[StoreEntry] = []
        self._read_at = float("-inf")

    async def all(self) -> list[StoreEntry]:
        """The oldest first."""
        await self._server.presence.require()
        if time.monotonic() - self._read_at > _FRESH_FOR:
            await self._read()
        return self._entries

    async def find(self, name: str) -> StoreEntry:
        """Raises NotFound.

        The list is used, because the server takes seconds to say that it does not know a store.
        """
        known_since = self._read_at
        entry = _named(name, await self.all())
        if entry is None and self._read_at == known_since:
            await self._read()
            entry = _named(name, self._entries)
        if entry is None:
            raise NotFound(STORE, name)
        return entry

    def forget(self) -> None:
        """What is known may have changed."""
        self._read_at = float("-inf")

    async def _ask(self) -> None:
        entries: list[StoreEntry] = []
        after: str | None = None
        while True:
            page = await self._server.get("/vector_stores", limit=_PAGE, order="asc", after=after)
            entries += [entry_of(found) for found in page["data"]]
            if not page.get("has_more") or not page["data"]:
                break
            after = str(page["data"][-1]["id"])
        self._entries = entries
        self._read_at = time.monotonic()


def _named(name: str, entries: Sequence[StoreEntry]) -> StoreEntry | None:
    """An id counts before what somebody has called a store."""
    return next((entry for entry in entries if entry.id == name), None) or next(
        (entry for entry in entries if entry.name == name), None
    )


def entry_of(found: Mapping[str, Any]) -> StoreEntry:
    """What the server says of a store."""
    identifier, metadata = str(found["id"]), found.get("metadata") or {}
    model, dimension = metadata.get("embedding_model"), metadata.get("embedding_dimension")
    return StoreEntry(
        identifier,
        str(metadata.get(NAME_KEY) or identifier),
        str(metadata.get("provider_id") or ""),
        EmbeddingModel(str(model), int(dimension)) if model and dimension else None,
    )
