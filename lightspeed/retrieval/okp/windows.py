"""The text around a chunk that was found."""

from collections.abc import Collection, Mapping

from lightspeed.retrieval.okp.answer import SolrDocument
from lightspeed.retrieval.okp.settings import PortalSettings


def window(
    found: SolrDocument,
    around: Mapping[int, SolrDocument],
    taken: Collection[int],
    settings: PortalSettings,
) -> list[SolrDocument]:
    """The chunk and its neighbours, in the order of the document, within the budget of tokens.

    `around` holds chunks of the same document by their index, `taken` the indexes that another window has. A short
    document is taken whole. Else the window grows on both sides in turn, and where the chunk stands under headings it
    does not leave them. A chunk above the budget stays alone.
    """
    if found.chunk_index is None:
        return [found]
    budget = settings.token_budget if found.headings else settings.token_budget_without_headings
    chunks = {**around, found.chunk_index: found}
    spent = sum(chunk.token_count for chunk in chunks.values())
    if not taken and found.total_chunks == len(chunks) and spent <= budget:
        return [chunks[index] for index in sorted(chunks)]
    return _grown(found, found.chunk_index, chunks, taken, budget)


def _grown(
    found: SolrDocument,
    index: int,
    chunks: Mapping[int, SolrDocument],
    taken: Collection[int],
    budget: int,
) -> list[SolrDocument]:
    chosen = {index: found}
    spent = found.token_count
    edges = {-1: index, 1: index}
    while edges:
        for step, edge in list(edges.items()):
            position = edge + step
            chunk = chunks.get(position)
            if (
                chunk is None
                or position in taken
                or (found.headings and chunk.headings != found.headings)
                or spent + chunk.token_count > budget
            ):
                del edges[step]
                continue
            chosen[position] = chunk
            spent += chunk.token_count
            edges[step] = position
    return [chosen[position] for position in sorted(chosen)]
