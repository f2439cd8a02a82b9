"""One order for what several stores have found."""

import pytest

from lightspeed.retrieval.hits import Hit, fused
from lightspeed.retrieval.references import Chunk
from lightspeed.retrieval.reranking import combined


def hit(text: str, score: float, *, source: str = "a", scale: str = "minilm", weight: float = 1.0) -> Hit:
    return Hit(Chunk(text, source, score), scale, weight)


def texts(hits: list[Hit]) -> list[str]:
    return [hit.chunk.content for hit in hits]


def test_scores_of_one_scale_decide_with_their_weights() -> None:
    found = fused([hit("one", 0.9), hit("two", 0.5), hit("three", 0.6, source="b", weight=1.4)])
    assert texts(found) == ["one", "three", "two"]
    assert found[1].chunk.score == pytest.approx(0.84)
    assert found[1].weight == 1


def test_scores_of_other_scales_count_by_rank() -> None:
    """A Solr score of 17 says nothing against a cosine of 0.9."""
    solr = [hit(f"s{n}", 17.0 - n, source="okp", scale="solr") for n in range(3)]
    ours = [hit(f"o{n}", 0.9 - n / 10) for n in range(3)]
    found = fused([*solr, *ours])
    assert [set(texts(found)[at : at + 2]) for at in (0, 2, 4)] == [{"s0", "o0"}, {"s1", "o1"}, {"s2", "o2"}]
    scores = [hit.chunk.score or 0 for hit in found]
    assert scores[0] == 1
    assert scores[-1] == pytest.approx(1 / 3)


def test_two_stores_of_one_scale_share_a_ranking_beside_another_scale() -> None:
    found = fused(
        [
            hit("a0", 0.9),
            hit("a1", 0.8, source="b"),
            hit("s0", 5.0, scale="solr"),
            hit("s1", 4.0, scale="solr"),
        ]
    )
    assert texts(found)[2:] == ["a1", "s1"]


def test_weights_count_with_ranks_too() -> None:
    found = fused(
        [hit("a0", 0.9), hit("s0", 5.0, scale="solr", weight=3), hit("s1", 4.0, scale="solr", weight=3)]
    )
    assert texts(found) == ["s0", "s1", "a0"]


def test_a_store_that_is_preferred_a_little_does_not_shut_the_others_out() -> None:
    ours = [hit(f"o{n}", 0.9 - n / 100, weight=1.2) for n in range(20)]
    found = fused([*ours, *[hit(f"s{n}", 5.0 - n, scale="solr") for n in range(5)]])
    assert texts(found)[:6] == ["o0", "s0", "o1", "s1", "o2", "s2"]


def test_a_weight_counts_once() -> None:
    """It wins places within its scale, and must not count again against others."""
    ours = [hit("a0", 0.6, weight=1.5), hit("b0", 0.8, source="b"), hit("b1", 0.7, source="b")]
    found = fused([*ours, hit("s0", 5.0, scale="solr")])
    assert {hit.chunk.content: hit.chunk.score for hit in found} == {
        "a0": 1,
        "s0": 1,
        "b0": 0.5,
        "b1": pytest.approx(1 / 3),
    }


def test_a_text_that_two_stores_hold_stands_there_once() -> None:
    found = fused([hit("the  same\ntext", 0.5, source="b"), hit("the same text", 0.9)])
    assert [(found.chunk.source, found.chunk.score) for found in found] == [("a", 0.9)]


def test_another_scale_does_not_turn_what_weights_have_ordered() -> None:
    ours = [hit("a", 0.8, weight=1.2), hit("b", 0.85, source="b")]
    assert texts(fused(ours)) == ["a", "b"]
    beside = fused([*ours, hit("s", 5.0, source="okp", scale="solr")])
    assert [text for text in texts(beside) if text != "s"] == ["a", "b"]


def test_a_cross_encoder_can_move_what_is_not_first() -> None:
    ours = [hit(f"o{n}", 0.9 - n / 100) for n in range(10)]
    solr = [hit(f"s{n}", 17.0 - n, source="okp", scale="solr") for n in range(10)]
    chunks = [found.chunk for found in fused([*ours, *solr], to_rerank=True)]
    relevance = [1.0 if chunk.content == "s1" else 0.0 for chunk in chunks]
    order = [chunk.content for chunk in combined(chunks, relevance, 20)]
    assert order.index("s1") < order.index("s0")
