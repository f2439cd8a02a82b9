"""The knowledge search as the configuration wants it."""

import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, replace

from lightspeed.configuration.rag import OKP, ByokRag
from lightspeed.configuration.root import Configuration
from lightspeed.retrieval.okp.portal import KnowledgePortal
from lightspeed.retrieval.okp.settings import PortalSettings
from lightspeed.retrieval.reranking import CrossEncoderReranker
from lightspeed.retrieval.search import KnowledgeSearch, KnowledgeSettings, Owners
from lightspeed.stack.models import Model
from lightspeed.stack.stack import Knowledge as KnowledgeStores
from lightspeed.telemetry.metrics_retrieval import RetrievalMetrics

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Knowledge:
    """`search`, and what must be closed after it."""

    search: KnowledgeSearch
    portal: KnowledgePortal | None

    async def impacts(self) -> list[tuple[str, str]]:
        """What is missing at this moment, as (component, message)."""
        health = await self.portal.health() if self.portal is not None else None
        if health is None or health.ok:
            return []
        return [(OKP, health.message or "The Offline Knowledge Portal does not answer.")]

    async def close(self) -> None:
        if self.portal is not None:
            await self.portal.close()


async def open_knowledge(
    configuration: Configuration,
    shared: frozenset[str],
    stores: KnowledgeStores,
    models: Sequence[Model] | None,
    owners: Owners,
    environment: Mapping[str, str],
    metrics: RetrievalMetrics | None = None,
) -> Knowledge:
    """`shared` are the ids of the stores that are everyone's; `models` is None while nobody knows them.

    What cannot be loaded is logged, and the search does without it. Raises ConfigurationError.
    """
    portal = None
    if configuration.rag.uses_portal:
        settings = PortalSettings.read(configuration.okp, environment)
        settings = replace(settings, timeout=min(settings.timeout, configuration.rag.max_seconds))
        portal = await KnowledgePortal.open(settings, _embedding(settings.embedding_model, stores, models))
    reranker = None
    if configuration.reranker.enabled:
        reranker = await CrossEncoderReranker.load(configuration.reranker.model, environment)
    search = KnowledgeSearch(
        stores,
        _settings(configuration, shared),
        owners=owners,
        portal=portal,
        reranker=reranker,
        metrics=metrics,
    )
    return Knowledge(search, portal)


def _settings(configuration: Configuration, shared: frozenset[str]) -> KnowledgeSettings:
    rag = configuration.rag
    stores: dict[str, ByokRag] = {}
    for store in configuration.byok_rag:
        stores.setdefault(store.rag_id, store)
    return KnowledgeSettings(
        inline=tuple(rag.inline),
        tool=tuple(rag.tool),
        store_ids={name: store.vector_db_id for name, store in stores.items()},
        weights={name: store.score_multiplier for name, store in stores.items()},
        shared=shared,
        max_chunks=rag.max_chunks,
        max_tokens=rag.max_tokens,
        neighbours=rag.neighbours,
        max_seconds=rag.max_seconds,
    )


def _embedding(
    model: str, stores: KnowledgeStores, models: Sequence[Model] | None
) -> Callable[[str], Awaitable[Sequence[float]]] | None:
    if models is not None and all(known.identifier != model for known in models):
        logger.warning(
            "The portal is searched by words only, because the embedding model %s is not there", model
        )
        return None

    async def embed(text: str) -> Sequence[float]:
        vector: list[float] = (await stores.question(text).vector(model)).tolist()
        return vector

    return embed
