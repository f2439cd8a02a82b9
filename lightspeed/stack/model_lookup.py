"""Remembers which models the stack knows.

Providers ask the stack's registry for each call whether the model has another name there, and the registry asks its
database for each name that it does not know, which is the usual case.
"""

import time
from typing import Any

_FRESH_FOR = 5.0  # seconds; as long as the stack itself keeps its registry


class ModelLookup:
    """Stands between a provider and the routing table that it asks for models."""

    def __init__(self, table: Any) -> None:
        self._table = table
        self._known: dict[str, bool] = {}
        self._emptied_at = time.monotonic()

    async def has_model(self, model_id: str) -> bool:
        now = time.monotonic()
        if now - self._emptied_at > _FRESH_FOR:
            self._known.clear()
            self._emptied_at = now
        known = self._known.get(model_id)
        if known is None:
            known = self._known[model_id] = await self._table.has_model(model_id)
        return known

    async def get_model(self, model_id: str) -> Any:
        return await self._table.get_model(model_id)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._table, name)


def remember_models(provider: Any) -> None:
    """Put a ModelLookup before the registry of a provider that has one."""
    table = getattr(provider, "model_store", None)
    if table is not None:
        object.__setattr__(provider, "model_store", ModelLookup(table))
