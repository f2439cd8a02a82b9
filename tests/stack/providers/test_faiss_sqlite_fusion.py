from pathlib import Path

import numpy as np
import pytest

from lightspeed.stack.providers.faiss_sqlite.chunks import Ranking
from lightspeed.stack.providers.faiss_sqlite.fusion import Fusion, fuse
from lightspeed.stack.providers.faiss_sqlite.store import ChunkStore
from tests.stack.providers.faiss_sqlite_data import chunk, names, unit


def ranked(**scores: float) -> Ranking:
    """Positions are named p1, p2, ..."""
    return Ranking(np.array([int(name[1:]) for name in scores], np.int64), np.array(list(scores.values())))


def fused(fusion: Fusion, vector: Ranking, keyword: Ranking, limit: int = 10) -> dict[int, float]:
    found = fuse(vector, keyword, fusion, limit)
    assert list(found.scores) == sorted(found.scores, reverse=True)
    return dict(zip(found.positions.tolist(), found.scores.tolist(), strict=True))


VECTOR = ranked(p3=0.9, p1=0.8, p2=0.5)
KEYWORD = ranked(p1=0.6, p4=0.2)


def test_linear() -> None:
    expected = {1: 0.75 * 0.8 + 0.25 * 0.6, 3: 0.75 * 0.9, 2: 0.75 * 0.5, 4: 0.25 * 0.2}
    assert fused(Fusion("linear", alpha=0.75), VECTOR, KEYWORD) == pytest.approx(expected)


def test_minmax() -> None:
    expected = {1: 0.5 * 0.75 + 0.5, 3: 0.5, 2: 0.0, 4: 0.0}
    assert fused(Fusion("minmax", alpha=0.5), VECTOR, KEYWORD) == pytest.approx(expected)
    assert fused(Fusion("minmax", alpha=0.5), ranked(p1=0.3), ranked(p2=0.1)) == {1: 0.5, 2: 0.5}


def test_reciprocal_ranks() -> None:
    expected = {1: (1 / 62 + 1 / 61) * 61 / 2, 3: 0.5, 2: 61 / 63 / 2, 4: 61 / 62 / 2}
    assert fused(Fusion("rrf", k=60), VECTOR, KEYWORD) == pytest.approx(expected)
    assert fused(Fusion("rrf"), ranked(p1=0.1), ranked(p1=0.1)) == {1: 1.0}


@pytest.mark.parametrize("method", ["linear", "minmax", "rrf"])
def test_one_or_both_may_be_empty(method: str) -> None:
    fusion = Fusion(method)  # type: ignore[arg-type]
    nothing = ranked()
    assert fused(fusion, nothing, nothing) == {}
    assert list(fused(fusion, VECTOR, nothing, limit=2)) == [3, 1]
    assert list(fused(fusion, nothing, KEYWORD)) == [1, 4]


@pytest.mark.parametrize(
    ("wrong", "problem"),
    [
        ({"method": "sum"}, "linear, minmax or rrf"),
        ({"alpha": 1.1}, "alpha"),
        ({"alpha": -0.1}, "alpha"),
        ({"k": 0}, "k is at least 1"),
    ],
)
def test_a_wrong_setting_is_refused(wrong: dict[str, object], problem: str) -> None:
    with pytest.raises(ValueError, match=problem):
        Fusion(**wrong)  # type: ignore[arg-type]


@pytest.mark.parametrize("fusion", [Fusion(), Fusion("minmax", alpha=0.6), Fusion("rrf")])
def test_hybrid_search_puts_first_what_both_find(tmp_path: Path, fusion: Fusion) -> None:
    store = ChunkStore(tmp_path / "kb", 3)
    contents = {
        "both": "reset the password",
        "words": "password of the old console in the cellar",
        "near": "change credentials",
    }
    vectors = [unit(1, 0.2, 0), unit(0, 0, 1), unit(1, 0.1, 0)]
    store.insert([chunk(name, text) for name, text in contents.items()], vectors)
    store.insert([chunk(f"{n}", f"apple{n}") for n in range(20)], [unit(0, n, 1) for n in range(20)])
    found = store.search_hybrid("reset password", unit(1, 0, 0), 10, fusion=fusion)
    assert names(found)[0] == "both"
    assert set(contents) < set(names(found))
    assert all(0 <= one.score <= 1 for one in found)
    threshold = found[0].score
    assert names(
        store.search_hybrid("reset password", unit(1, 0, 0), 10, fusion=fusion, score_threshold=threshold)
    ) == ["both"]
    store.close()


def test_a_chunk_found_by_words_only_gets_its_cosine_too(tmp_path: Path) -> None:
    store = ChunkStore(tmp_path / "kb", 2)
    vectors = [unit(1, number / 1000) for number in range(300)]
    store.insert([chunk(f"{n}", "needle" if n == 299 else "hay") for n in range(300)], vectors)
    (first, *_) = store.search_hybrid("needle", unit(1, 0), 5, fusion=Fusion(alpha=0.5))
    (word,) = store.search_keyword("needle", 1)
    assert first.chunk.id == "299"
    assert first.score == pytest.approx(0.5 * (vectors[299] @ unit(1, 0)) + 0.5 * word.score)
    store.close()


@pytest.mark.parametrize(
    ("text", "filters"), [("needle", None), ("rare needle", {"type": "eq", "key": "kind", "value": "good"})]
)
def test_a_chunk_that_is_near_has_its_words_weighed_however_many_hold_them_better(
    tmp_path: Path, text: str, filters: dict[str, str] | None
) -> None:
    """Neither search alone looks at so many chunks."""
    store = ChunkStore(tmp_path / "kb", 2)
    wanted = f"a needle {'among other things ' * 9}"
    for name, content, count, vector in (
        ("near", "far away words", 5, unit(1, 0)),
        ("other", "needle needle thread", 300, unit(0, 1)),
        ("hay", "only hay", 1000, unit(-1, 0)),
        ("wanted", wanted, 1, unit(1, 0.01)),
    ):
        chunks = [chunk(f"{name}{number}", content, kind="good") for number in range(count)]
        store.insert(chunks, [vector] * count)
    store.insert([chunk(f"bad{number}", "rare", kind="bad") for number in range(50)], [unit(-1, 0)] * 50)
    assert "wanted0" not in names(store.search_keyword(text, 200, filters=filters))
    (first, *_) = store.search_hybrid(
        text, unit(1, 0), 5, filters=filters, fusion=Fusion("linear", alpha=0.6)
    )
    assert first.chunk.id == "wanted0"
    words = {one.chunk.id: one.score for one in store.search_keyword(text, 400, filters=filters)}
    meaning = {one.chunk.id: one.score for one in store.search_vector(unit(1, 0), 6)}
    assert first.score == pytest.approx(0.6 * meaning["wanted0"] + 0.4 * words["wanted0"])
    store.close()
