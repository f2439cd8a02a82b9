"""How far the text around a chunk reaches."""

from collections.abc import Sequence
from dataclasses import replace

import pytest

from lightspeed.retrieval.okp.answer import SolrDocument, solr_document
from lightspeed.retrieval.okp.settings import PortalFields, PortalSettings
from lightspeed.retrieval.okp.windows import window

SETTINGS = PortalSettings(token_budget=100, token_budget_without_headings=50)


def document(tokens: Sequence[int], headings: Sequence[str] | None = None) -> list[SolrDocument]:
    return [
        solr_document(
            {
                "id": f"d_chunk_{index}",
                "chunk": f"text {index}",
                "chunk_index": index,
                "num_tokens": count,
                "headings": headings[index] if headings else None,
            },
            PortalFields(),
        )
        for index, count in enumerate(tokens)
    ]


def reach(
    chunks: Sequence[SolrDocument], at: int, taken: Sequence[int] = (), total: int | None = None
) -> list[int | None]:
    around = {chunk.chunk_index: chunk for chunk in chunks if chunk.chunk_index is not None}
    found = replace(chunks[at], total_chunks=total)
    return [chunk.chunk_index for chunk in window(found, around, frozenset(taken), SETTINGS)]


@pytest.mark.parametrize(
    ("tokens", "at", "expected"),
    [
        ([10] * 9, 4, [2, 3, 4, 5, 6]),
        ([10] * 9, 0, [0, 1, 2, 3, 4]),
        ([10] * 9, 8, [4, 5, 6, 7, 8]),
        ([10, 10, 60, 10, 10, 10], 3, [3, 4, 5]),
        ([10, 80, 10], 1, [1]),
        ([10, 20, 10, 30], 2, [0, 1, 2]),
    ],
)
def test_without_headings_it_grows_on_both_sides_within_the_smaller_budget(
    tokens: list[int], at: int, expected: list[int]
) -> None:
    assert reach(document(tokens), at) == expected


def test_it_stays_under_the_headings_of_the_chunk() -> None:
    chunks = document([20] * 7, ["A", "B", "B", "B", "C", "B", "B"])
    assert reach(chunks, 2) == [1, 2, 3]


def test_under_headings_the_budget_is_larger() -> None:
    assert reach(document([30] * 6, ["A"] * 6), 2) == [1, 2, 3]
    assert reach(document([30] * 6), 2) == [2]


def test_a_short_document_is_taken_whole_across_headings() -> None:
    chunks = document([20] * 4, ["A", "A", "B", "B"])
    assert reach(chunks, 0, total=4) == [0, 1, 2, 3]
    assert reach(chunks, 0, total=9) == [0, 1]


def test_what_another_window_has_is_left_to_it() -> None:
    chunks = document([10] * 6)
    assert reach(chunks, 4, taken=[0, 1, 2]) == [3, 4, 5]
    assert reach(chunks, 4, taken=[0, 1, 2], total=6) == [3, 4, 5]


def test_a_gap_ends_it() -> None:
    chunks = document([10] * 5)
    assert reach([chunks[0], *chunks[2:]], 2) == [2, 3, 4]


def test_a_chunk_without_a_place_stays_alone() -> None:
    alone = replace(document([10])[0], chunk_index=None)
    assert window(alone, {1: document([10, 10])[1]}, frozenset(), SETTINGS) == [alone]


def test_tokens_that_are_not_told_are_estimated() -> None:
    chunk = solr_document({"id": "d", "chunk": "x" * 10}, PortalFields())
    assert chunk.token_count == 3
