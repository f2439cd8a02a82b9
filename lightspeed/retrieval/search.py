"""Search over the knowledge stores: before a question goes to the model, and as a tool of the model."""

import logging
from collections.abc import Callable, Coroutine, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import anyio

from lightspeed.errors import LightspeedError
from lightspeed.retrieval.references import Chunk
from lightspeed.stack.passages import Passage

logger = logging.getLogger(__name__)


class Stores(Protocol):
    """The knowledge stores of the stack."""

    async def ids(self) -> list[str]: ...
    async def search(self, store: str, query: str, limit: int) -> Sequence[Passage]: ...


@dataclass(frozen=True, slots=True)
class KnowledgeSettings:
    """Which stores serve which search.

    `inline` stores are searched before each question, `tool` stores by the model itself, both by the name that users
    know; `store_ids` maps such names to the stack's ids. `weights` multiply the scores of a store.
    """

    inline: tuple[str, ...] = ()
    tool: tuple[str, ...] = ()
    store_ids: Mapping[str, str] = field(default_factory=dict)
    weights: Mapping[str, float] = field(default_factory=dict)
    inline_limit: int = 10
    tool_limit: int = 10


class KnowledgeSearch:
    """Finds passages in several stores at once, best first. A store that fails is left out and logged."""

    def __init__(self, stores: Stores, settings: KnowledgeSettings) -> None:
        self._stores = stores
        self._settings = settings

    async def inline(self, query: str, requested: Sequence[str] | None = None) -> list[Chunk]:
        """What the model shall read before it answers. `requested` narrows the configured stores."""
        configured = self._settings.inline
        names = configured if requested is None else [name for name in requested if name in configured]
        return await self._search(query, names, self._settings.inline_limit)

    async def for_tool(self, query: str, names: Sequence[str]) -> list[Chunk]:
        return await self._search(query, names, self._settings.tool_limit)

    async def tool_stores(self, requested: Sequence[str] | None = None) -> list[str]:
        """The stores that the model may search itself; all of them when none is configured for either search."""
        if requested is not None:
            return list(requested)
        if self._settings.tool or self._settings.inline:
            return list(self._settings.tool)
        return await self._stores.ids()

    async def _search(self, query: str, names: Sequence[str], limit: int) -> list[Chunk]:
        if not names or not query.strip():
            return []
        found: dict[str, list[Chunk]] = {}

        async def search(name: str) -> None:
            found[name] = await self._search_one(name, query, limit)

        await _together([lambda name=name: search(name) for name in dict.fromkeys(names)])  # type: ignore[misc]
        merged = [chunk for name in dict.fromkeys(names) for chunk in found.get(name, ())]
        merged.sort(key=lambda chunk: chunk.score or 0.0, reverse=True)
        return _distinct(merged)[:limit]

    async def _search_one(self, name: str, query: str, limit: int) -> list[Chunk]:
        weight = self._settings.weights.get(name, 1.0)
        try:
            passages = await self._stores.search(self._settings.store_ids.get(name, name), query, limit)
        except LightspeedError as error:
            logger.warning("Knowledge store %s is left out: %s", name, error)
            return []
        except Exception:
            logger.exception("Knowledge store %s is left out", name)
            return []
        return [
            Chunk(passage.content, name, passage.score * weight, dict(passage.metadata))
            for passage in passages
        ]


async def _together(jobs: Sequence[Callable[[], Coroutine[Any, Any, None]]]) -> None:
    if len(jobs) == 1:
        await jobs[0]()
        return
    async with anyio.create_task_group() as group:
        for job in jobs:
            group.start_soon(job)


def _distinct(chunks: Sequence[Chunk]) -> list[Chunk]:
    """The first of each text."""
    first: dict[str, Chunk] = {}
    for chunk in chunks:
        first.setdefault(chunk.content, chunk)
    return list(first.values())
