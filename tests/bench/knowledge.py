"""`python -m tests.bench.knowledge`: the store of FAISS and SQLite, how fast it is and how well it finds."""

import argparse
import json
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from lightspeed.stack.environment import prepare_environment
from lightspeed.stack.providers.faiss_sqlite.fusion import Fusion
from tests.bench.knowledge_corpora import corpora
from tests.bench.knowledge_quality import CANDIDATES, HALVES, Judged, Scores, difference, judged
from tests.bench.knowledge_scale import BATCH, CHUNKS, MANY, STOCK_BATCHES
from tests.bench.report import machine

_REPOSITORY = Path(__file__).resolve().parents[2]
_PARTS = ("scale", "million", "quality")


def scale(folder: Path) -> Iterator[str]:
    """100,000 chunks: storing, opening, searching."""
    stored = _measured("ingest", folder)
    stock = _extrapolated(_measured("stock", folder)["seconds"], CHUNKS // BATCH)
    found = _measured("search", folder)
    yield from _table(
        f"{CHUNKS:,} chunks of 1 KB, 384 dimensions",
        [
            (f"store in batches of {BATCH}", f"{stored['total']:.1f} s"),
            (
                "the same with the stock provider, extrapolated",
                f"{stock:.0f} s ({stock / stored['total']:.0f} times)",
            ),
            ("last batches to first", f"{stored['ratio']:.2f}"),
            (
                "resident while storing and after, to raw vectors",
                f"{stored['peak']:.2f}, {stored['resident']:.2f}",
            ),
            ("on disk", f"{stored['disk'] / 1e6:.0f} MB"),
            ("open", f"{found['open']:.2f} s"),
            ("resident just after opening, to raw vectors", f"{found['resident']:.2f}"),
            ("bare FAISS and SQL, p50", f"{found['bare']:.2f} ms"),
            ("vector search, p50", f"{found['vector']:.2f} ms ({found['vector'] / found['bare']:.2f} times)"),
            (
                "with a filter, p50",
                f"{found['filtered']:.2f} ms; the first time {1000 * found['first_filter']:.0f} ms",
            ),
            ("keyword search of 10 words, p50", f"{found['keyword']:.2f} ms"),
            ("hybrid search, p50", f"{found['hybrid']:.2f} ms"),
        ],
    )
    yield (
        f"The stock provider was measured for {STOCK_BATCHES} batches; their seconds grow in a line, which was "
        f"drawn on to {CHUNKS // BATCH}. p50 are medians of 200 queries, in turns with the bare calls."
    )


def million(folder: Path) -> Iterator[str]:
    """A million chunks with the approximate index."""
    made = _measured("million", folder)
    found = _measured("million_search", folder, made["nearest"])
    assert found["approximate"]
    yield from _table(
        f"{MANY:,} clustered vectors, 384 dimensions",
        [
            ("store", f"{made['ingest']:.0f} s"),
            ("build the index on 2 cores", f"{made['build']:.0f} s"),
            ("index file; all files", f"{found['index'] / 1e6:.0f} MB; {found['disk'] / 1e6:.0f} MB"),
            ("open, with the check of the file", f"{found['open']:.2f} s"),
            ("recall@10 against exact", f"{found['recall']:.3f}"),
            ("vector search, p50", f"{found['vector']:.2f} ms"),
            ("resident growth, the mapped file included", f"{found['resident'] / 1e6:.0f} MB"),
        ],
    )


def quality(folder: Path, cache: Path | None) -> Iterator[str]:
    """Which fusion each half of the questions chooses, and what that brings on the other half."""
    prepare_environment()
    sets = list(judged(corpora(folder), folder, cache))
    tuned, untouched = sets[:2], sets[2:]
    trained = {
        fusion: [[one.hybrid(fusion, half).ndcg.mean() for one in tuned] for half in HALVES]
        for fusion in CANDIDATES
    }
    chosen = [max(CANDIDATES, key=lambda fusion: np.mean(trained[fusion][half])) for half in HALVES]
    rows = [
        (_label(fusion), *(f"{score:.3f}" for scores in halves for score in scores))
        for fusion, halves in trained.items()
    ]
    heads = [f"{one.corpus.name}, half {half + 1}" for half in HALVES for one in tuned]
    yield from _table("nDCG@10", rows, heads)
    for half, fusion in enumerate(chosen):
        yield f"Best by the mean of half {half + 1}: {_label(fusion)}. "
    yield f"The default is {_label(Fusion())}.\n"
    for one in tuned:
        yield from _tested(one, chosen[::-1])
    for one in untouched:
        yield from _tested(one, (Fusion(), Fusion()))
    for one in sets:
        one.close()


def _tested(one: Judged, fusions: Sequence[Fusion]) -> Iterator[str]:
    """All questions, each half with its own fusion."""
    vector, keyword, rrf, hybrid = (
        Scores.joined([search(half) for half in HALVES])
        for search in (
            one.vector,
            one.keyword,
            lambda half: one.hybrid(Fusion("rrf"), half),
            lambda half: one.hybrid(fusions[half], half),
        )
    )
    better = max((vector, keyword), key=lambda scores: scores.ndcg.mean())
    rows = []
    for name, scores in (("vector", vector), ("keyword", keyword), ("rrf", rrf), ("hybrid", hybrid)):
        gained = difference(scores.ndcg, better.ndcg)
        interval = "" if scores is better else f"{gained.mean:+.3f} ({gained.low:+.3f} to {gained.high:+.3f})"
        rows.append((name, f"{scores.recall.mean():.3f}", f"{scores.ndcg.mean():.3f}", interval))
    size = f"{len(one.corpus.chunks):,} chunks, {len(vector.ndcg)} questions"
    heads = ("recall@5", "nDCG@10", "to the better of both, 95 % interval")
    yield from _table(f"{one.corpus.name} ({size})", rows, heads)


def _label(fusion: Fusion) -> str:
    return f"rrf {fusion.k}" if fusion.method == "rrf" else f"{fusion.method} {fusion.alpha:g}"


def _extrapolated(seconds: Sequence[float], batches: int) -> float:
    """All batches, when each takes as much longer than the one before as the measured ones did."""
    slope, first = np.polyfit(np.arange(len(seconds)), seconds, 1)
    return float(np.sum(first + slope * np.arange(batches)))


def _measured(name: str, folder: Path, given: Any = None) -> dict[str, Any]:
    print(f"{name} ...", file=sys.stderr, flush=True)
    output = subprocess.run(
        [sys.executable, "-m", "tests.bench.knowledge_scale", name, str(folder)],
        cwd=_REPOSITORY,
        input=json.dumps(given).encode(),
        stdout=subprocess.PIPE,
        check=True,
    )
    # The stack logs to standard output.
    result: dict[str, Any] = json.loads(output.stdout.splitlines()[-1])
    return result


def _table(title: str, rows: Sequence[Sequence[str]], heads: Sequence[str] = ("",)) -> Iterator[str]:
    yield f"\n| {' | '.join((title, *heads))} |"
    yield f"| --- |{' ---: |' * len(heads)}"
    for row in rows:
        yield f"| {' | '.join(row)} |"
    yield ""


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.bench.knowledge", description=__doc__)
    parser.add_argument("--only", action="append", choices=_PARTS, help="may be given several times")
    parser.add_argument("--cache", type=Path, help="a folder that keeps embeddings from run to run")
    options = parser.parse_args()
    parts = {"scale": scale, "million": million, "quality": lambda folder: quality(folder, options.cache)}
    print(f"Machine: {machine()}.")
    for name in options.only or _PARTS:
        with tempfile.TemporaryDirectory(prefix="lightspeed-bench-") as folder:
            for line in parts[name](Path(folder)):
                print(line, flush=True)


if __name__ == "__main__":
    main()
