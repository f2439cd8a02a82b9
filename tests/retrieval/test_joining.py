"""Neighbours are joined."""

from collections.abc import Sequence

from lightspeed.retrieval.joining import joined_texts, runs_of
from lightspeed.retrieval.references import Chunk


def chunk(
    place: int, text: str = "", *, document: str = "d", source: str = "docs", score: float = 0.5
) -> Chunk:
    attributes = {"document_id": document, "chunk_index": place}
    return Chunk(text or f"Guide > Install\nPart {place}.", source, score, attributes)


def joined(chunks: Sequence[Chunk], limit: int) -> list[Chunk]:
    return [run.joined() for run in runs_of(chunks, limit)]


def test_neighbours_become_one_passage_in_reading_order() -> None:
    (found,) = joined([chunk(3, score=0.9), chunk(2, score=0.4), chunk(4, score=0.3)], 10)
    assert found.content == "Guide > Install\nPart 2.\nPart 3.\nPart 4."
    assert found.score == 0.9
    assert found.attributes["chunk_index"] == 3


def test_passages_of_other_places_documents_and_stores_stay_apart() -> None:
    chunks = [chunk(3), chunk(5), chunk(4, document="e"), chunk(4, source="other")]
    assert joined(chunks, 10) == chunks


def test_a_passage_that_closes_a_gap_joins_both_sides() -> None:
    found = joined([chunk(1, score=0.9), chunk(3, score=0.8), chunk(9), chunk(2, score=0.1)], 10)
    assert [passage.content for passage in found] == [
        "Guide > Install\nPart 1.\nPart 2.\nPart 3.",
        "Guide > Install\nPart 9.",
    ]


def test_the_limit_counts_joined_passages() -> None:
    found = joined([chunk(1), chunk(7), chunk(2), chunk(20)], 2)
    assert [passage.attributes["chunk_index"] for passage in found] == [1, 7]
    assert "Part 2." in found[0].content


def test_passages_without_a_place_are_never_joined() -> None:
    chunks = [
        Chunk("one", "docs", 0.5, {"document_id": "d"}),
        Chunk("two", "docs", 0.5, {"document_id": "d"}),
    ]
    assert joined(chunks, 10) == chunks
    nameless = [Chunk("one", "docs", 0.5, {"chunk_index": 1}), Chunk("two", "docs", 0.5, {"chunk_index": 2})]
    assert joined(nameless, 10) == nameless


def test_an_overlap_stands_there_once() -> None:
    first = "Guide > Install\nUnpack it. Then restart the service."
    second = "Guide > Install\nThen restart the service. It is ready."
    assert joined_texts(first, second) == "Guide > Install\nUnpack it. Then restart the service. It is ready."


def test_the_header_of_a_table_stands_there_once() -> None:
    head = "| Action | For |\n|---|---|\n"
    first, second = f"Guide\nThe actions:\n\n{head}| `a` | x |", f"Guide\n{head}| `b` | y |\n\nEnd."
    assert joined_texts(first, second) == f"{first}\n| `b` | y |\n\nEnd."
    other = f"{first}\n\nAnother table:"
    assert joined_texts(other, second) == f"{other}\n{head}| `b` | y |\n\nEnd."


def test_another_heading_is_kept() -> None:
    assert joined_texts("Guide > A\none", "Guide > B\ntwo") == "Guide > A\none\nGuide > B\ntwo"


def test_where_room_is_short_the_best_part_keeps_its_nearest_neighbours() -> None:
    chunks = [chunk(5, score=0.9), *(chunk(place) for place in (4, 6, 3, 7))]
    (run,) = runs_of(chunks, 10)
    assert run.within(lambda part: True) == run.joined()
    small = run.within(lambda part: part.content.count("Part") <= 3)
    assert small is not None
    assert small.content == "Guide > Install\nPart 4.\nPart 5.\nPart 6."
    assert (small.score, small.attributes) == (0.9, chunks[0].attributes)
    assert run.within(lambda part: part.content.count("Part") <= 1) == chunks[0]
    assert run.within(lambda part: False) is None


def test_a_neighbour_that_is_too_large_ends_the_growth_on_its_side_only() -> None:
    (run,) = runs_of([chunk(5, score=0.9), chunk(6, "x" * 500), chunk(4), chunk(3), chunk(7)], 10)
    found = run.within(lambda part: len(part.content) < 200)
    assert found is not None
    assert found.content == "Guide > Install\nPart 3.\nPart 4.\nPart 5."
