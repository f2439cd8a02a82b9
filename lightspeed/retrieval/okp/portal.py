"""Search in the Offline Knowledge Portal."""

import logging
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

import anyio

from lightspeed.configuration.rag import OKP
from lightspeed.errors import RequestError
from lightspeed.retrieval.okp.answer import SolrDocument, solr_document
from lightspeed.retrieval.okp.connection import Form, SolrCollection
from lightspeed.retrieval.okp.filters import filter_query
from lightspeed.retrieval.okp.links import PortalLinks
from lightspeed.retrieval.okp.passage import PortalPassage, bounded_score
from lightspeed.retrieval.okp.queries import context_form, hybrid_form, search_text, semantic_form
from lightspeed.retrieval.okp.request import Mode, PortalQuery, solr_parameters
from lightspeed.retrieval.okp.settings import PortalSettings
from lightspeed.retrieval.okp.vectors import Embed, QuestionVectors
from lightspeed.retrieval.okp.windows import window

logger = logging.getLogger(__name__)

_HYBRID, _SEMANTIC, _SELECT = "hybrid-search", "semantic-search", "select"
_SPARE_HITS = 2
_CONTEXT_PART = 0.25  # of the time for a search: what was found already shall not wait long
_PROBE_SECONDS = 0.7  # Kubernetes waits for a second


@dataclass(frozen=True, slots=True)
class PortalHealth:
    """Whether the portal answers; `message` says why not."""

    ok: bool
    message: str | None = None


class KnowledgePortal:
    """Finds passages in the portal, best first. Made by `open`; `close` ends its connections.

    `embed` turns a question into a vector of the portal's embedding model. Without it there is no semantic search, and
    a hybrid search finds by words only.
    """

    def __init__(self, collection: SolrCollection, settings: PortalSettings, embed: Embed | None) -> None:
        self._collection = collection
        self._settings = settings
        self._vectors = QuestionVectors(embed, settings)
        self._links = PortalLinks(settings.base_url, settings.offline)

    @classmethod
    async def open(cls, settings: PortalSettings, embed: Embed | None = None) -> Self:
        return cls(await SolrCollection.open(settings), settings, embed)

    async def close(self) -> None:
        await self._collection.close()

    async def health(self) -> PortalHealth:
        """Soon, because who probes the service may give up after a second: that is no time for a portal that hangs."""
        try:
            with anyio.fail_after(_PROBE_SECONDS):
                await self._collection.documents(
                    _SELECT, [("q", "*:*"), ("defType", "lucene"), ("rows", "0")]
                )
        except TimeoutError:
            return PortalHealth(
                ok=False,
                message=f"The Offline Knowledge Portal at {self._settings.base_url} did not answer a probe within"
                f" {_PROBE_SECONDS:g} seconds.",
            )
        except RequestError as error:
            return PortalHealth(ok=False, message=error.cause)
        return PortalHealth(ok=True)

    async def search(
        self,
        query: str,
        options: PortalQuery | None = None,
        *,
        limit: int = 5,
        score_threshold: float = 0.3,
    ) -> list[PortalPassage]:
        """At most `limit` passages; `options` is what the request asks of the portal.

        `score_threshold` is compared with Solr's own score. Raises BadRequest for filters that are refused here or by
        Solr, Unavailable when the portal or, for a semantic search, its embedding model does not answer.
        """
        options = options or PortalQuery()
        restrictions = [filter_query(options.filters)] if options.filters is not None else []
        parameters = solr_parameters(options.solr)
        if limit < 1 or not query.strip():
            return []
        restrictions += [value for name, value in parameters if name == "fq"]
        boosts = [(name, value) for name, value in parameters if name != "fq"]
        found = await self._found(query, limit, options.mode, restrictions, boosts)
        hits = [hit for hit in self._chunks(found) if hit.score >= score_threshold]
        passages = await self._passages(hits, options.mode)
        return passages[:limit]

    async def _found(
        self, query: str, limit: int, mode: Mode, restrictions: Sequence[str], boosts: Form
    ) -> list[Mapping[str, Any]]:
        if mode == "semantic":
            vector = await self._vectors.vector(query)
            form = semantic_form(vector, limit, restrictions, self._settings)
            return await self._collection.documents(_SEMANTIC, [*form, *boosts])
        text = search_text(query)
        if not text:
            return []
        near = await self._vectors.vector_or_none(query) if mode == "hybrid" else None
        # Hits that lie in the window of a better one are dropped; some more make up for them.
        form = hybrid_form(text, near, limit * _SPARE_HITS, restrictions, self._settings)
        return await self._collection.documents(_HYBRID, [*form, *boosts])

    def _chunks(self, found: Sequence[Mapping[str, Any]]) -> list[SolrDocument]:
        """The usable chunks among what was found."""
        chunks = []
        for values in found:
            try:
                document = solr_document(values, self._settings.fields)
            except ValueError as error:
                logger.warning("The Offline Knowledge Portal returned %s; it is left out", error)
                continue
            if not document.content:
                logger.warning(
                    "Document %.200s of the Offline Knowledge Portal has no text in field '%s'; it is left out",
                    document.id,
                    self._settings.fields.content,
                )
            elif document.is_chunk:
                chunks.append(document)
        return chunks

    async def _passages(self, hits: Sequence[SolrDocument], mode: Mode) -> list[PortalPassage]:
        parents, neighbours = await self._context(hits, widen=mode != "semantic")
        taken: defaultdict[str, set[int]] = defaultdict(set)
        passages: list[PortalPassage] = []
        for hit in hits:
            key = hit.parent_id or hit.id
            if hit.chunk_index in taken[key]:
                continue
            chunk = hit.with_parent(parents.get(key))
            chosen = window(chunk, neighbours.get(key, {}), taken[key], self._settings)
            taken[key] |= {part.chunk_index for part in chosen if part.chunk_index is not None}
            passages.append(
                PortalPassage(
                    content="\n\n".join(part.content for part in chosen),
                    score=bounded_score(hit.score, mode),
                    metadata=self._metadata(chunk, len(chosen)),
                    id=chunk.id,
                    scale=OKP,
                    solr_score=hit.score,
                    rank=len(passages) + 1,
                )
            )
        return passages

    async def _context(
        self, hits: Sequence[SolrDocument], *, widen: bool
    ) -> tuple[dict[str, SolrDocument], dict[str, dict[int, SolrDocument]]]:
        """The documents that the hits are parts of, by id, and the neighbours of the hits, by document and index."""
        parents: dict[str, SolrDocument] = {}
        neighbours: dict[str, dict[int, SolrDocument]] = {}
        wanted = list(dict.fromkeys(hit.parent_id for hit in hits if hit.parent_id is not None))
        if not wanted or not (widen or any(_incomplete(hit) for hit in hits)):
            return parents, neighbours
        form = context_form(wanted, hits if widen else (), self._settings)
        try:
            with anyio.fail_after(self._settings.timeout * _CONTEXT_PART):
                found = await self._collection.documents(_SELECT, form)
        except (RequestError, TimeoutError) as error:
            logger.warning(
                "What was found in the Offline Knowledge Portal is given without its context: %s",
                str(error) or "it did not answer in time",
            )
            return parents, neighbours
        for values in found:
            try:
                document = solr_document(values, self._settings.fields)
            except ValueError:
                continue
            if document.id in wanted:
                parents[document.id] = document
            elif document.content and document.parent_id is not None and document.chunk_index is not None:
                neighbours.setdefault(document.parent_id, {})[document.chunk_index] = document
        return parents, neighbours

    def _metadata(self, chunk: SolrDocument, chunks: int) -> dict[str, Any]:
        """`doc_url` and `reference_url` are links as `okp.offline` asks for, or absent."""
        metadata = {
            "document_id": chunk.cited_as,
            "doc_id": chunk.cited_as,
            "chunk_id": chunk.id,
            "chunk_index": chunk.chunk_index,
            "chunks": chunks,
            "title": chunk.title,
            "doc_url": self._links.chunk(chunk),
            "reference_url": self._links.document(chunk),
            "source": OKP,
        }
        return {key: value for key, value in metadata.items() if value is not None}


def _incomplete(hit: SolrDocument) -> bool:
    return hit.title is None or hit.document_id is None or not (hit.source_path or hit.reference_url)
