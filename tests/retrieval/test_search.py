"""Searching several stores."""

from collections.abc import Sequence

import pytest

from lightspeed.errors import NotFound
from lightspeed.retrieval.search import KnowledgeSearch, KnowledgeSettings
from lightspeed.stack.passages import Passage

pytestmark = pytest.mark.anyio


class Shelves:
    """Stores whose passages are given."""

    def __init__(self, **stores: Sequence[tuple[str, float]]) -> None:
        self.stores = stores

    async def ids(self) -> list[str]:
        return list(self.stores)

    async def search(self, store: str, query: str, limit: int) -> list[Passage]:
        if store == "broken":
            raise OSError("disk on fire")
        if store not in self.stores:
            raise NotFound("Vector store", store)
        return [Passage(text, score, {}) for text, score in self.stores[store]][:limit]


async def test_results_are_merged_best_first_weighted_distinct_and_limited() -> None:
    shelves = Shelves(a=[("one", 0.9), ("two", 0.5)], b=[("three", 0.6), ("one", 0.2)])
    search = KnowledgeSearch(
        shelves, KnowledgeSettings(inline=("a", "b"), weights={"b": 1.4}, inline_limit=2)
    )
    found = await search.inline("query")
    assert [(chunk.content, chunk.source) for chunk in found] == [("one", "a"), ("three", "b")]
    assert found[1].score == pytest.approx(0.84)


async def test_names_are_translated_to_the_ids_of_the_stack() -> None:
    search = KnowledgeSearch(
        Shelves(vs_1=[("one", 0.9)]), KnowledgeSettings(inline=("manual",), store_ids={"manual": "vs_1"})
    )
    assert [chunk.source for chunk in await search.inline("query")] == ["manual"]


async def test_a_store_that_fails_is_left_out() -> None:
    search = KnowledgeSearch(
        Shelves(a=[("one", 0.9)], broken=[]), KnowledgeSettings(inline=("broken", "missing", "a"))
    )
    assert [chunk.content for chunk in await search.inline("query")] == ["one"]


async def test_an_empty_question_finds_nothing() -> None:
    search = KnowledgeSearch(Shelves(a=[("one", 0.9)]), KnowledgeSettings(inline=("a",)))
    assert await search.inline("  ") == []


@pytest.mark.parametrize(
    ("inline", "tool", "requested", "stores"),
    [
        ((), (), None, ["a", "b"]),
        (("a",), (), None, []),
        (("a",), ("b",), None, ["b"]),
        ((), ("b",), ("a",), ["a"]),
        ((), (), (), []),
    ],
)
async def test_the_stores_of_the_tool(
    inline: tuple[str, ...], tool: tuple[str, ...], requested: tuple[str, ...] | None, stores: list[str]
) -> None:
    search = KnowledgeSearch(Shelves(a=[], b=[]), KnowledgeSettings(inline=inline, tool=tool))
    assert await search.tool_stores(requested) == stores
