"""Search over the knowledge stores: before a question goes to the model, and as a tool of the model."""

import logging
import time
from collections.abc import Callable, Collection, Coroutine, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import anyio

from lightspeed.configuration.rag import OKP
from lightspeed.errors import LightspeedError
from lightspeed.retrieval.hits import Hit, fused
from lightspeed.retrieval.joining import Run, runs_of
from lightspeed.retrieval.okp.request import PortalQuery
from lightspeed.retrieval.reading import beginning, passage_tokens
from lightspeed.retrieval.references import Chunk, document_id
from lightspeed.stack.passages import Passage
from lightspeed.telemetry.metrics_retrieval import OTHER_STORES, RetrievalMetrics

logger = logging.getLogger(__name__)

USERS_STORE_PREFIX = "vs_"
_ANYTHING = PortalQuery()
_CANDIDATES = 2  # for each passage that is wanted: some are the same, or stand side by side


class Stores[QuestionT](Protocol):
    """The knowledge stores of the stack."""

    async def ids(self) -> list[str]: ...
    def question(self, text: str) -> QuestionT: ...
    async def search(self, store: str, question: QuestionT, limit: int) -> Sequence[Passage]: ...
    async def neighbours(
        self, store: str, passage: str, count: int
    ) -> tuple[Sequence[Passage], Sequence[Passage]]: ...


class Portal(Protocol):
    """The Offline Knowledge Portal; `options` are what the request asks of it."""

    async def search(self, query: str, options: PortalQuery) -> Sequence[Passage]: ...


class Reranker(Protocol):
    @property
    def ready(self) -> bool: ...
    async def rerank(self, query: str, chunks: Sequence[Chunk], keep: int) -> list[Chunk]: ...


class Owners(Protocol):
    async def visible(self, user_id: str) -> Collection[str]:
        """The ids of the user's own stores."""
        ...


@dataclass(frozen=True, slots=True)
class KnowledgeSettings:
    """Which stores serve which search.

    `inline` stores are searched before each question, `tool` stores by the model itself, both by the name that users
    know; `store_ids` maps such names to the stack's ids. `weights` multiply the scores of a store. `shared` are the ids
    of the configured stores. Each passage is given with up to `neighbours` passages before and after it; all together
    have at most `max_tokens`, by estimate. A store that has not answered after `max_seconds` is left out; the portal
    keeps limits of its own.
    """

    inline: tuple[str, ...] = ()
    tool: tuple[str, ...] = ()
    store_ids: Mapping[str, str] = field(default_factory=dict)
    weights: Mapping[str, float] = field(default_factory=dict)
    shared: frozenset[str] = frozenset()
    max_chunks: int = 10
    max_tokens: int | None = None
    neighbours: int = 0
    max_seconds: float = 20.0

    def users_name(self, store: str) -> str:
        """The name of a store, which may be given by its id."""
        if store in self.store_ids:
            return store
        return next((name for name, identifier in self.store_ids.items() if identifier == store), store)

    def is_everyones(self, store_id: str) -> bool:
        """Whether a store is there for all users: those with ids of the kind that users' own have must be configured."""
        return store_id in self.shared or not store_id.startswith(USERS_STORE_PREFIX)


class KnowledgeSearch:
    """Finds passages in several stores at once, best first. A store that fails is left out and logged."""

    def __init__(
        self,
        stores: Stores[Any],
        settings: KnowledgeSettings,
        *,
        owners: Owners | None = None,
        portal: Portal | None = None,
        reranker: Reranker | None = None,
        metrics: RetrievalMetrics | None = None,
    ) -> None:
        """Without `owners` all stores are everyone's."""
        self._stores = stores
        self._settings = settings
        self._owners = owners
        self._portal = portal
        self._reranker = reranker
        self._metrics = metrics
        self._named = frozenset((*settings.inline, *settings.tool, *settings.store_ids, *settings.shared))

    async def inline(
        self,
        query: str,
        requested: Sequence[str] | None = None,
        portal_options: PortalQuery = _ANYTHING,
        *,
        room: int | None = None,
    ) -> list[Chunk]:
        """What the model shall read before it answers. `requested` narrows the configured stores, but not the portal.

        `room` is what the model's context window has for passages, in tokens.
        """
        configured = self._settings.inline
        names = [name for name in configured if requested is None or name == OKP or name in requested]
        return await self._search(query, names, portal_options, room)

    async def for_tool(
        self,
        query: str,
        names: Sequence[str],
        portal_options: PortalQuery = _ANYTHING,
        *,
        room: int | None = None,
    ) -> list[Chunk]:
        return await self._search(query, names, portal_options, room)

    async def tool_stores(self, requested: Sequence[str] | None, user_id: str) -> list[str]:
        """The stores that the model may search itself; all that the user may see when none is configured at all.

        Requested ones that the user may not see are left out.
        """
        if requested is not None:
            names = list(requested)
        elif self._settings.tool or self._settings.inline:
            return list(self._settings.tool)
        else:
            names = await self._all()
        return await self._visible(names, user_id)

    async def _all(self) -> list[str]:
        return [self._settings.users_name(store) for store in await self._stores.ids()]

    async def _visible(self, names: Sequence[str], user_id: str) -> list[str]:
        ids = {name: self._settings.store_ids.get(name, name) for name in names}
        everyones = {name for name, store in ids.items() if self._settings.is_everyones(store)}
        if len(everyones) == len(ids) or self._owners is None:
            return list(names)
        try:
            own = await self._owners.visible(user_id)
        except LightspeedError as error:
            logger.warning("Only configured stores are searched, because owners cannot be told: %s", error)
            own = ()
        return [name for name in names if name in everyones or ids[name] in own]

    async def _search(
        self, query: str, names: Sequence[str], portal_options: PortalQuery, room: int | None
    ) -> list[Chunk]:
        if not names or not query.strip():
            return []
        stores = list(dict.fromkeys(map(self._settings.users_name, names)))
        question = self._stores.question(query)
        found: dict[str, list[Hit]] = {}

        async def search(name: str) -> None:
            found[name] = await self._search_one(name, question, query, portal_options)

        await _together([lambda name=name: search(name) for name in stores])  # type: ignore[misc]
        hits = fused(
            (hit for name in stores for hit in found.get(name, ())),
            to_rerank=self._reranker is not None and self._reranker.ready,
        )
        chunks = await self._ranked(query, hits)
        if self._settings.neighbours:
            chunks += await self._around(hits, chunks[: self._settings.max_chunks])
        limits = [limit for limit in (self._settings.max_tokens, room) if limit is not None]
        return _within(runs_of(chunks, self._settings.max_chunks), min(limits, default=None))

    async def _search_one(
        self, name: str, question: Any, query: str, portal_options: PortalQuery
    ) -> list[Hit]:
        weight = self._settings.weights.get(name, 1.0)
        passages: Sequence[Passage] | None = None
        clock = time.perf_counter()
        try:
            with anyio.fail_after(None if self._is_portal(name) else self._settings.max_seconds):
                passages = await self._passages(name, question, query, portal_options)
        except TimeoutError:
            logger.warning(
                "Knowledge store %s is left out: it did not answer within %g seconds",
                name,
                self._settings.max_seconds,
            )
        except LightspeedError as error:
            logger.warning("Knowledge store %s is left out: %s", name, error)
        except Exception:
            logger.exception("Knowledge store %s is left out", name)
        self._count(name, None if passages is None else len(passages), time.perf_counter() - clock)
        return [
            Hit(
                Chunk(passage.content, name, passage.score, _attributes(passage)),
                passage.scale,
                weight,
                passage.id,
            )
            for passage in passages or ()
        ]

    async def _passages(
        self, name: str, question: Any, query: str, portal_options: PortalQuery
    ) -> Sequence[Passage]:
        if self._portal is not None and self._is_portal(name):
            return await self._portal.search(query, portal_options)
        store = self._settings.store_ids.get(name, name)
        return await self._stores.search(store, question, _CANDIDATES * self._settings.max_chunks)

    def _is_portal(self, name: str) -> bool:
        return name == OKP and self._portal is not None

    def _count(self, name: str, found: int | None, seconds: float) -> None:
        if self._metrics is not None:
            self._metrics.search(name if name in self._named else OTHER_STORES, found, seconds)

    async def _ranked(self, query: str, hits: Sequence[Hit]) -> list[Chunk]:
        chunks = [hit.chunk for hit in hits]
        if self._reranker is None or not chunks:
            return chunks
        return await self._reranker.rerank(query, chunks, _CANDIDATES * self._settings.max_chunks)

    async def _around(self, hits: Sequence[Hit], chunks: Sequence[Chunk]) -> list[Chunk]:
        """The neighbours of passages; they have no score of their own."""
        passages = {(hit.chunk.source, hit.chunk.content): hit.passage_id for hit in hits}
        around: list[list[Chunk]] = [[] for _ in chunks]

        async def look(at: int, chunk: Chunk) -> None:
            passage = passages.get((chunk.source, chunk.content))
            if not passage or chunk.source is None or chunk.source == OKP:
                return
            store = self._settings.store_ids.get(chunk.source, chunk.source)
            try:
                with anyio.fail_after(self._settings.max_seconds):
                    before, after = await self._stores.neighbours(store, passage, self._settings.neighbours)
            except (LightspeedError, TimeoutError) as error:
                logger.warning(
                    "A passage of %s is given without its neighbours: %s", store, str(error) or "too slow"
                )
                return
            except Exception:
                logger.exception("A passage of %s is given without its neighbours", store)
                return
            # The nearest first, so that each touches what is there already.
            around[at] = [
                Chunk(passage.content, chunk.source, None, dict(passage.metadata))
                for passage in (*reversed(before), *after)
            ]

        await _together([lambda at=at, chunk=chunk: look(at, chunk) for at, chunk in enumerate(chunks)])  # type: ignore[misc]
        return [neighbour for group in around for neighbour in group]


def _attributes(passage: Passage) -> dict[str, Any]:
    """Metadata; a passage of which nobody knows the document stands for it itself."""
    attributes = dict(passage.metadata)
    if passage.id and document_id(attributes) is None:
        attributes["chunk_id"] = passage.id
    return attributes


def _within(runs: Sequence[Run], room: int | None) -> list[Chunk]:
    """The best that fit, with fewer neighbours where room is short; a smaller one may take what a larger one left.

    The best of all is cut when it is larger than all the room.
    """
    if room is None:
        return [run.joined() for run in runs]
    kept: list[Chunk] = []
    left = room
    for run in runs:
        chunk = run.within(lambda part, left=left: passage_tokens(part) <= left)  # type: ignore[misc]
        if chunk is None and run is runs[0]:
            chunk = beginning(run.best, room)
        if chunk is not None:
            kept.append(chunk)
            left -= passage_tokens(chunk)
    return kept


async def _together(jobs: Sequence[Callable[[], Coroutine[Any, Any, None]]]) -> None:
    if len(jobs) == 1:
        await jobs[0]()
        return
    async with anyio.create_task_group() as group:
        for job in jobs:
            group.start_soon(job)
