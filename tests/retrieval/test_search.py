"""Searching several stores."""

from collections.abc import Sequence

import anyio
import pytest

from lightspeed.errors import NotFound, StorageError
from lightspeed.retrieval.okp.request import PortalQuery
from lightspeed.retrieval.references import Chunk, referenced_documents
from lightspeed.retrieval.search import KnowledgeSearch, KnowledgeSettings
from lightspeed.stack.passages import Passage

pytestmark = pytest.mark.anyio


class Shelves:
    """Stores whose passages are given."""

    def __init__(self, **stores: Sequence[tuple[str, float]]) -> None:
        self.stores = stores

    async def ids(self) -> list[str]:
        return list(self.stores)

    def question(self, text: str) -> str:
        return text

    async def search(self, store: str, question: str, limit: int) -> list[Passage]:
        if store == "broken":
            raise OSError("disk on fire")
        if store not in self.stores:
            raise NotFound("Vector store", store)
        return [Passage(text, score, {}) for text, score in self.stores[store]][:limit]

    async def neighbours(self, store: str, passage: str, count: int) -> tuple[list[Passage], list[Passage]]:
        return [], []


async def test_results_are_merged_best_first_weighted_distinct_and_limited() -> None:
    shelves = Shelves(a=[("one", 0.9), ("two", 0.5)], b=[("three", 0.6), ("one", 0.2)])
    search = KnowledgeSearch(shelves, KnowledgeSettings(inline=("a", "b"), weights={"b": 1.4}, max_chunks=2))
    found = await search.inline("query")
    assert [(chunk.content, chunk.source) for chunk in found] == [("one", "a"), ("three", "b")]
    assert found[1].score == pytest.approx(0.84)


async def test_names_are_translated_to_the_ids_of_the_stack() -> None:
    search = KnowledgeSearch(
        Shelves(vs_1=[("one", 0.9)]), KnowledgeSettings(inline=("manual",), store_ids={"manual": "vs_1"})
    )
    assert [chunk.source for chunk in await search.inline("query")] == ["manual"]


async def test_a_store_that_is_named_by_its_id_is_the_same_store() -> None:
    settings = KnowledgeSettings(
        inline=("vs_1", "manual"), tool=("vs_1",), store_ids={"manual": "vs_1"}, weights={"manual": 0.5}
    )
    search = KnowledgeSearch(Shelves(vs_1=[("one", 0.8)]), settings)
    for found in (await search.inline("query"), await search.for_tool("query", settings.tool)):
        assert [(chunk.source, chunk.score) for chunk in found] == [("manual", 0.4)]


async def test_a_passage_of_no_document_is_named_itself() -> None:
    class Leaves(Shelves):
        async def search(self, store: str, question: str, limit: int) -> list[Passage]:
            return [
                Passage("one", 0.9, {"document_id": None, "tag": "a"}, "leaf-1"),
                Passage("two", 0.8, {"doc_id": "d"}, "leaf-2"),
                Passage("three", 0.7, {"chunk_id": "own"}, "leaf-3"),
            ]

    found = await KnowledgeSearch(Leaves(a=[]), KnowledgeSettings(inline=("a",))).inline("query")
    assert [document.document_id for document in referenced_documents(found)] == ["leaf-1", "d", "own"]
    assert found[1].attributes == {"doc_id": "d"}


class Asleep(Shelves):
    async def search(self, store: str, question: str, limit: int) -> list[Passage]:
        if store == "asleep":
            await anyio.sleep_forever()
        return await super().search(store, question, limit)


async def test_nobody_waits_for_ever_for_a_store(caplog: pytest.LogCaptureFixture) -> None:
    settings = KnowledgeSettings(inline=("asleep", "a"), max_seconds=0.05)
    found = await KnowledgeSearch(Asleep(a=[("one", 0.9)]), settings).inline("query")
    assert [chunk.content for chunk in found] == ["one"]
    assert "asleep is left out: it did not answer within 0.05 seconds" in caplog.text


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
    assert await search.tool_stores(requested, "somebody") == stores


class Book(Shelves):
    """One document of ten passages, of which the fifth is found."""

    async def search(self, store: str, question: str, limit: int) -> list[Passage]:
        return [_page(5, 0.9)]

    async def neighbours(self, store: str, passage: str, count: int) -> tuple[list[Passage], list[Passage]]:
        assert passage == "p5"
        return [_page(n, 0.0) for n in range(5 - count, 5)], [_page(n, 0.0) for n in range(6, 6 + count)]


def _page(number: int, score: float) -> Passage:
    return Passage(
        f"Page {number}.", score, {"document_id": "book", "chunk_index": number}, f"p{number}", "minilm"
    )


async def test_a_passage_is_given_with_its_neighbours() -> None:
    search = KnowledgeSearch(Book(book=[]), KnowledgeSettings(inline=("book",), neighbours=2))
    (found,) = await search.inline("page")
    assert found.content.split("\n") == ["Page 3.", "Page 4.", "Page 5.", "Page 6.", "Page 7."]
    assert found.score == 0.9


async def test_passages_have_a_budget_and_a_small_one_takes_the_room_that_is_left() -> None:
    shelves = Shelves(a=[("x" * 320, 0.9), ("y" * 3200, 0.8), ("z" * 640, 0.7)])
    search = KnowledgeSearch(shelves, KnowledgeSettings(inline=("a",), max_tokens=310))
    assert [chunk.content[0] for chunk in await search.inline("query")] == ["x", "z"]


@pytest.mark.parametrize(("budget", "pages"), [(5, 1), (7, 2), (12, 4), (100, 7)])
async def test_neighbours_that_do_not_fit_the_budget_do_not_take_the_passage_with_them(
    budget: int, pages: int
) -> None:
    settings = KnowledgeSettings(inline=("book",), neighbours=3, max_tokens=budget)
    (found,) = await KnowledgeSearch(Book(book=[]), settings).inline("page")
    assert "Page 5." in found.content
    assert len(found.content.split("\n")) == pages


async def test_a_passage_larger_than_the_whole_budget_is_cut_at_a_word() -> None:
    shelves = Shelves(a=[("kettle " * 2000, 0.9), ("lantern " * 1000, 0.8), ("a lantern", 0.1)])
    search = KnowledgeSearch(shelves, KnowledgeSettings(inline=("a",), max_tokens=100))
    found = (await search.inline("query"))[0]
    assert 250 < len(found.content) <= 320
    assert set(found.content.split()) == {"kettle"}
    assert found.score == 0.9
    nothing = KnowledgeSearch(shelves, KnowledgeSettings(inline=("a",), max_tokens=1))
    assert await nothing.inline("query") == []


class Lenders:
    """Ann owns one store, Bob another."""

    def __init__(self, error: Exception | None = None) -> None:
        self.error = error

    async def visible(self, user_id: str) -> set[str]:
        if self.error:
            raise self.error
        return {f"vs_{user_id}"}


SHARED = KnowledgeSettings(store_ids={"manual": "vs_shared"}, shared=frozenset({"vs_shared"}))


async def test_nobody_searches_the_stores_of_others() -> None:
    shelves = Shelves(ingested=[], vs_shared=[], vs_ann=[], vs_bob=[], vs_nobodys=[])
    search = KnowledgeSearch(shelves, SHARED, owners=Lenders())
    assert await search.tool_stores(None, "ann") == ["ingested", "manual", "vs_ann"]
    assert await search.tool_stores(None, "bob") == ["ingested", "manual", "vs_bob"]
    assert await search.tool_stores(("vs_bob", "manual", "vs_ann"), "ann") == ["manual", "vs_ann"]


async def test_where_owners_cannot_be_told_only_configured_stores_are_searched() -> None:
    search = KnowledgeSearch(Shelves(vs_shared=[], vs_ann=[]), SHARED, owners=Lenders(StorageError("gone")))
    assert await search.tool_stores(None, "ann") == ["manual"]


class Turned:
    ready = True

    async def rerank(self, query: str, chunks: Sequence[Chunk], keep: int) -> list[Chunk]:
        return list(reversed(chunks))[:keep]


async def test_a_reranker_has_the_last_word() -> None:
    search = KnowledgeSearch(
        Shelves(a=[("one", 0.9), ("two", 0.5)]),
        KnowledgeSettings(inline=("a",), max_chunks=1),
        reranker=Turned(),
    )
    assert [chunk.content for chunk in await search.inline("query")] == ["two"]


class Reception:
    """A portal that says what it was asked."""

    async def search(self, query: str, options: PortalQuery) -> list[Passage]:
        return [Passage(f"{query} {options.mode}", 17.0, {}, scale="solr")]


async def test_the_portal_is_asked_too_whatever_stores_are_requested() -> None:
    search = KnowledgeSearch(
        Shelves(a=[("one", 0.9)], b=[("two", 0.8)]),
        KnowledgeSettings(inline=("a", "b", "okp")),
        portal=Reception(),
    )
    found = await search.inline("query", ["b"], PortalQuery("lexical"))
    assert {(chunk.content, chunk.source) for chunk in found} == {("two", "b"), ("query lexical", "okp")}
    assert [chunk.source for chunk in await search.inline("query", [])] == ["okp"]


class Slow(Shelves):
    """A portal and neighbours that are slower than the limit for stores, or fail."""

    def __init__(self, error: Exception | None) -> None:
        super().__init__()
        self.error = error

    async def search(self, store: str, question: str, limit: int) -> list[Passage]:
        return [_page(5, 0.9)]

    async def neighbours(self, store: str, passage: str, count: int) -> tuple[list[Passage], list[Passage]]:
        if self.error:
            raise self.error
        await anyio.sleep_forever()
        raise AssertionError


@pytest.mark.parametrize("error", [None, OSError("disk on fire"), StorageError("gone")])
async def test_a_passage_is_given_without_neighbours_that_hang_or_fail(error: Exception | None) -> None:
    settings = KnowledgeSettings(inline=("book",), neighbours=1, max_seconds=0.05)
    with anyio.fail_after(10):
        (found,) = await KnowledgeSearch(Slow(error), settings).inline("page")
    assert found.content == "Page 5."


class SlowReception:
    async def search(self, query: str, options: PortalQuery) -> list[Passage]:
        await anyio.sleep(0.1)
        return [Passage("portal", 17.0, {}, scale="solr")]


async def test_the_portal_keeps_its_own_limits() -> None:
    settings = KnowledgeSettings(inline=("okp",), max_seconds=0.02)
    found = await KnowledgeSearch(Shelves(), settings, portal=SlowReception()).inline("query")
    assert [chunk.content for chunk in found] == ["portal"]
