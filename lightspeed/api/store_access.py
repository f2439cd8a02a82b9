"""Who may see and change which vector store.

A store that was made through the API belongs to who made it. Stores of the configuration, and those that
`lightspeed ingest` has made, have no owner: everyone may read them, and nobody may change them here.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final
from uuid import uuid4

from lightspeed.api.endpoint import Call
from lightspeed.errors import Forbidden, NotFound, RequestError
from lightspeed.identity.actions import Action
from lightspeed.storage.owned import OwnedStore

if TYPE_CHECKING:
    from lightspeed.services import Services


STORE: Final = "Vector Store"

# Of the stores that this service makes for users. One without an owner, such as another program may have left in
# the stack, is hidden: nobody knows whose it is.
_PREFIX = "vs_"


def new_store_id() -> str:
    return f"{_PREFIX}{uuid4()}"


@dataclass(frozen=True, slots=True)
class ListedStore:
    """A store that the caller may read; `created_at` in seconds since 1970, `owned` None for one without an owner."""

    id: str
    created_at: float
    owned: OwnedStore | None


class StoreAccess:
    """The vector stores as one caller sees them. All methods raise StorageError."""

    def __init__(self, call: Call[Any, Any]) -> None:
        self._services: Services = call.services.services
        self._user_id = call.principal.user_id
        self._sees_all = call.permits(Action.ADMIN)
        self._configured: frozenset[str] = call.services.plan.configured_stores

    async def readable(self, store_id: str, *, resource: str = STORE) -> OwnedStore | None:
        """The owner's row of a store, or None for one without an owner. Raises NotFound, also for a hidden one."""
        owned = await self._services.ownership.store(store_id)
        if store_id in self._configured or self._sees_all:
            return owned
        hidden = store_id.startswith(_PREFIX) if owned is None else owned.user_id != self._user_id
        if hidden:
            raise NotFound(resource, store_id)
        return owned

    async def changeable(self, store_id: str, *, resource: str = STORE) -> OwnedStore | None:
        """As `readable`. Raises Forbidden for a store that is there for everyone."""
        owned = await self.readable(store_id, resource=resource)
        shared = store_id in self._configured or (owned is None and not store_id.startswith(_PREFIX))
        if shared:
            if store_id not in self._configured and store_id not in await self._services.vector_stores.ids():
                raise NotFound(resource, store_id)
            raise Forbidden(
                f"Vector store {store_id} belongs to the configuration of the service; it cannot be changed here.",
                response="Vector store is read-only",
            )
        return owned

    async def listed(self, *, newest_first: bool = True) -> Sequence[ListedStore]:
        """All stores that the caller may read."""
        services = self._services
        rows = await services.ownership.stores(None if self._sees_all else self._user_id)
        known = await services.vector_stores.ids()
        there = set(known)
        found = {
            row.id: ListedStore(row.id, row.created_at.timestamp(), row)
            for row in rows
            if row.id in there or await self._is_there(row.id)
        }
        for store_id in known:
            ownerless = store_id not in found and (self._sees_all or not store_id.startswith(_PREFIX))
            if ownerless or (store_id in self._configured and store_id not in found):
                try:
                    store = await services.vector_stores.get(store_id)
                except NotFound:
                    continue
                found[store_id] = ListedStore(store_id, store.created_at, None)
        return sorted(found.values(), key=lambda store: (store.created_at, store.id), reverse=newest_first)

    async def _is_there(self, store_id: str) -> bool:
        """Whether a store was really made: its owner is written first, and the service may have ended in between."""
        try:
            await self._services.vector_stores.get(store_id)
        except NotFound:
            return False
        except RequestError:
            # Whatever is wrong with it, it is there: others are listed all the same.
            return True
        return True
