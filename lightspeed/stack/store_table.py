"""The stack's table of vector stores, and the checks before each use of it."""

from collections.abc import Mapping
from typing import Any

from llama_stack_api import Api

from lightspeed.errors import NotFound, Unavailable
from lightspeed.stack.absent_stores import AbsentStores

STORE = "Vector Store"


class StoreTable:
    """Its routing table is used, because the router before it turns `auto` chunking into fixed sizes."""

    def __init__(self, impls: Mapping[Any, Any], absent: AbsentStores | None = None) -> None:
        self._impl = impls.get(Api.vector_stores)
        self._absent = absent or AbsentStores()

    @property
    def impl(self) -> Any:
        """The table itself. Raises Unavailable if run.yaml has no `vector_io`, or nothing of it runs."""
        if self._impl is None or not self._impl.impls_by_provider_id:
            self._absent.check_providers()
            raise Unavailable(
                "The stack has no vector stores: run.yaml needs `vector_io` in `apis` and a provider in "
                "`providers.vector_io`.",
                response="Vector stores are not available",
            )
        return self._impl

    async def registered(self) -> list[Any]:
        """All stores whose provider runs."""
        if self._impl is None:
            return []
        providers = self._impl.impls_by_provider_id
        # Not the table's own list: it asks the access rules about each store, which takes long for thousands.
        return [
            found
            for found in await self._impl.dist_registry.get_all()
            if found.type == "vector_store" and found.provider_id in providers
        ]

    async def serving(self, store_id: str) -> Any:
        """The table, once it knows the store: it asks its database for what another process has made.

        Raises NotFound, and Unavailable also for a store whose provider does not run.
        """
        await self.found(store_id, STORE)
        return self.impl

    async def found(self, store_id: str, resource: str) -> Any:
        """The table's entry of one store, which errors call a `resource`. Raises as `serving`."""
        table = self.impl
        found = await table.get_object_by_identifier("vector_store", store_id)
        if found is None or found.provider_id not in table.impls_by_provider_id:
            self._absent.check(store_id, None if found is None else found.provider_id)
            raise NotFound(resource, store_id)
        return found
