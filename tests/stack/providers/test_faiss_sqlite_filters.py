import operator
from collections.abc import Iterator
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lightspeed.stack.providers.faiss_sqlite.store import ChunkStore
from tests.stack.providers.faiss_sqlite_data import chunk, names, unit

ORDERINGS = {"gt": operator.gt, "gte": operator.ge, "lt": operator.lt, "lte": operator.le}
ODD_KEYS = ['a"b', "a\\b", "a'b", "\n", "", "a.b", "$", "[0]", "#", "é", "💥", "\u2028", "a b", "type", "%"]

CHUNKS = {
    "four": {"version": "4", "n": 4, "x": 0.5, "yes": True, "tags": ["a"]},
    "five": {"version": "5", "n": 5, "x": 1.5, "yes": False},
    "text": {"version": "ten", "n": "5", "x": "0.5", "yes": "true"},
    "bare": {},
    "odd": {key: number for number, key in enumerate(ODD_KEYS)},
}


def compare(kind: str, key: str, value: Any) -> dict[str, Any]:
    return {"type": kind, "key": key, "value": value}


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ChunkStore]:
    store = ChunkStore(tmp_path_factory.mktemp("filters") / "kb", 2)
    chunks = [chunk(name, "same words", **metadata) for name, metadata in CHUNKS.items()]
    store.insert(chunks, [unit(1, n) for n in range(len(CHUNKS))])
    yield store
    store.close()


def found(store: ChunkStore, filters: dict[str, Any]) -> list[str]:
    """What all kinds of search find, which must be the same."""
    by_vector = names(store.search_vector(unit(1, 0), 10, filters=filters))
    by_word = names(store.search_keyword("words", 10, filters=filters))
    by_both = names(store.search_hybrid("words", unit(1, 0), 10, filters=filters))
    assert sorted(by_vector) == sorted(by_word) == sorted(by_both)
    return by_vector


@pytest.mark.parametrize(
    ("filters", "expected"),
    [
        (compare("eq", "version", "4"), ["four"]),
        (compare("eq", "version", 4), []),
        (compare("eq", "n", 5), ["five"]),
        (compare("eq", "n", 5.0), ["five"]),
        (compare("eq", "n", "5"), ["text"]),
        (compare("eq", "x", 0.5), ["four"]),
        (compare("eq", "yes", True), ["four"]),
        (compare("eq", "yes", False), ["five"]),
        (compare("eq", "yes", 1), []),
        (compare("eq", "yes", "true"), ["text"]),
        (compare("eq", "unknown", 1), []),
        (compare("eq", "tags", '["a"]'), ["four"]),
        (compare("eq", "version", "4' OR '1'='1"), []),
        (compare("ne", "version", "4"), ["five", "text", "bare", "odd"]),
        (compare("ne", "n", 5), ["four", "text", "bare", "odd"]),
        (compare("ne", "yes", True), ["five", "text", "bare", "odd"]),
        (compare("in", "version", ["4", "ten", "x"]), ["four", "text"]),
        (compare("in", "n", [4, "5"]), ["four", "text"]),
        (compare("in", "yes", [True, "true", 7]), ["four", "text"]),
        (compare("in", "n", []), []),
        (compare("nin", "n", [4, "5"]), ["five", "bare", "odd"]),
        (compare("nin", "n", []), ["four", "five", "text", "bare", "odd"]),
        (compare("gt", "n", 4), ["five"]),
        (compare("gte", "n", 4), ["four", "five"]),
        (compare("lt", "n", 4.5), ["four"]),
        (compare("lte", "n", 5), ["four", "five"]),
        (compare("gt", "n", "4"), ["text"]),
        (compare("lt", "version", "5"), ["four"]),
        (compare("gte", "unknown", 0), []),
        ({"type": "and", "filters": [compare("gte", "n", 4), compare("lt", "x", 1)]}, ["four"]),
        ({"type": "or", "filters": [compare("eq", "n", 4), compare("eq", "n", "5")]}, ["four", "text"]),
        (
            {
                "type": "and",
                "filters": [
                    compare("ne", "version", "4"),
                    {"type": "or", "filters": [compare("eq", "n", 4), compare("eq", "n", 5)]},
                ],
            },
            ["five"],
        ),
        *((compare("eq", key, number), ["odd"]) for number, key in enumerate(ODD_KEYS)),
        *((compare("ne", key, -1), ["four", "five", "text", "bare", "odd"]) for key in ODD_KEYS),
        (compare("eq", "half \ud800", 1), []),
    ],
)
def test_what_a_filter_finds(store: ChunkStore, filters: dict[str, Any], expected: list[str]) -> None:
    assert found(store, filters) == expected


def nested(depth: int) -> dict[str, Any]:
    inner = compare("eq", "n", 4)
    for _ in range(depth):
        inner = {"type": "and", "filters": [inner]}
    return inner


@pytest.mark.parametrize(
    ("filters", "problem"),
    [
        ("eq", "an object with 'type'"),
        ({"a": 1}, "type of a filter is one of eq, ne"),
        (compare("like", "a", "x"), "not 'like'"),
        (compare("eq", 7, "x"), "key of a filter is a string, not 7"),  # type: ignore[arg-type]
        ({"type": "eq", "value": 1}, "key of a filter is a string, not None"),
        (compare("eq", "a", None), "filter on 'a' compares strings, numbers and booleans, not None"),
        (compare("eq", "a", ["x"]), r"not \['x'\]"),
        (compare("eq", "a", float("nan")), "not nan"),
        (compare("eq", "a", 2**64), "not 18446744073709551616"),
        (compare("in", "a", "x"), "need a list of values for 'a'"),
        (compare("in", "a", [None]), "not None"),
        (compare("gt", "a", True), "cannot order booleans"),
        ({"type": "and", "filters": []}, "'and' needs a list of filters"),
        ({"type": "or"}, "'or' needs a list of filters"),
        (nested(30), "nested more than"),
        ({"type": "or", "filters": [compare("eq", "n", n) for n in range(2000)]}, "too many parts"),
    ],
)
def test_a_wrong_filter_is_refused(store: ChunkStore, filters: Any, problem: str) -> None:
    for search in (
        lambda: store.search_vector(unit(1, 0), 1, filters=filters),
        lambda: store.search_keyword("words", 1, filters=filters),
        lambda: store.search_hybrid("words", unit(1, 0), 1, filters=filters),
    ):
        with pytest.raises(ValueError, match=problem):
            search()


def test_nul_and_large_numbers_are_compared_like_others(tmp_path: Path) -> None:
    store = ChunkStore(tmp_path / "kb", 2)
    chunks = [
        chunk("nul", "words", **{"version": "4\0", "a\0": "x", "n": 1e300}),
        chunk("four", "words", version="4", n=-(2**63)),
    ]
    store.insert(chunks, [unit(1, 0), unit(1, 1)])
    assert found(store, compare("eq", "version", "4\0")) == ["nul"]
    assert found(store, compare("eq", "version", "4")) == ["four"]
    assert found(store, compare("eq", "a\0", "x")) == ["nul"]
    assert found(store, compare("gte", "n", 1e300)) == ["nul"]
    assert found(store, compare("in", "n", [1e300, -(2**63)])) == ["nul", "four"]
    store.close()


def test_a_long_list_of_values(store: ChunkStore) -> None:
    assert found(store, compare("in", "n", list(range(5, 5000)))) == ["five"]
    assert found(store, nested(15)) == ["four"]


def test_a_filter_sees_what_was_stored_and_deleted_since(tmp_path: Path) -> None:
    store = ChunkStore(tmp_path / "kb", 2)
    even = compare("eq", "even", True)

    def search() -> list[str]:
        return sorted(names(store.search_vector(unit(1, 0), 100, filters=even)))

    store.insert([chunk(f"{n}", even=n % 2 == 0) for n in range(4)], [unit(1, n) for n in range(4)])
    assert search() == ["0", "2"]
    store.insert([chunk(f"{n}", even=n % 2 == 0) for n in range(4, 8)], [unit(1, n) for n in range(4)])
    assert search() == ["0", "2", "4", "6"]
    store.delete_chunks(["0", "3"])
    store.insert([chunk("2", even=False), chunk("5", even=True)], [unit(1, 0)] * 2)
    assert search() == ["4", "5", "6"]
    store.close()


def test_a_filter_finds_the_nearest_of_what_it_allows(tmp_path: Path) -> None:
    store = ChunkStore(tmp_path / "kb", 8)
    vectors = np.random.default_rng(3).standard_normal((1000, 8)).astype(np.float32)
    store.insert([chunk(f"{n}", group=n % 50) for n in range(1000)], vectors)
    query = vectors[0]
    allowed = np.arange(7, 1000, 50)
    cosine = vectors[allowed] @ query / np.linalg.norm(vectors[allowed], axis=1)
    expected = [str(number) for number in allowed[np.argsort(-cosine)][:5]]
    assert names(store.search_vector(query, 5, filters=compare("eq", "group", 7))) == expected
    store.close()


KEYS = st.sampled_from(["a", 'b"', "c.d", ""])
TEXTS = st.sampled_from(["", "x", "X", "10", "9", "true", "a\0", "\uffff", "\U0001f600"])
NUMBERS = st.sampled_from([0, 1, -1, 1.0, 0.5, 1e300, 5e-324, 2**53 + 1, -(2**63)])
SCALARS = TEXTS | NUMBERS | st.booleans()
COMPARISONS = (
    st.builds(compare, st.sampled_from(["eq", "ne"]), KEYS, SCALARS)
    | st.builds(compare, st.sampled_from(["in", "nin"]), KEYS, st.lists(SCALARS, max_size=3))
    | st.builds(compare, st.sampled_from(list(ORDERINGS)), KEYS, TEXTS | NUMBERS)
)
FILTERS = st.recursive(
    COMPARISONS,
    lambda parts: st.fixed_dictionaries(
        {"type": st.sampled_from(["and", "or"]), "filters": st.lists(parts, min_size=1, max_size=3)}
    ),
    max_leaves=6,
)


def allows(filters: dict[str, Any], metadata: dict[str, Any]) -> bool:
    """What a filter means, in Python."""
    kind = filters["type"]
    if kind in ("and", "or"):
        parts = [allows(part, metadata) for part in filters["filters"]]
        return all(parts) if kind == "and" else any(parts)
    if kind in ("ne", "nin"):
        return not allows({**filters, "type": "eq" if kind == "ne" else "in"}, metadata)
    stored = metadata.get(filters["key"])
    wanted = filters["value"] if kind == "in" else [filters["value"]]
    return any(
        kind_of(value) is kind_of(stored) and ORDERINGS.get(kind, operator.eq)(stored, value)
        for value in wanted
    )


def kind_of(value: Any) -> type:
    return float if type(value) is int else type(value)


@pytest.fixture(scope="module", params=["exact", "approximate"])
def varied(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[ChunkStore, dict[str, dict[str, Any]]]]:
    """A store of chunks with all kinds of metadata, some of which were deleted, and the others' metadata."""
    random = Random(1)
    values = ["", "x", "X", "10", "9", "true", "a\0", "\uffff", "\U0001f600", 0, 1, 0.5, 1e300, 2**53 + 1]
    metadata = {
        f"{n}": {
            key: random.choice([*values, True, False]) for key in random.sample(["a", 'b"', "c.d", ""], 2)
        }
        for n in range(200)
    }
    store = ChunkStore(tmp_path_factory.mktemp("varied") / "kb", 4)
    chunks = [chunk(name, "same words", **one) for name, one in metadata.items()]
    store.insert(chunks, np.random.default_rng(2).standard_normal((len(chunks), 4)))
    if request.param == "approximate":
        store.build_index()
    store.delete_chunks([name for name in metadata if int(name) % 7 == 0])
    yield store, {name: one for name, one in metadata.items() if int(name) % 7}
    store.close()


@settings(max_examples=100, deadline=None)
@given(filters=FILTERS)
def test_every_search_finds_what_a_filter_allows(
    varied: tuple[ChunkStore, dict[str, dict[str, Any]]], filters: dict[str, Any]
) -> None:
    store, metadata = varied
    expected = sorted(name for name, one in metadata.items() if allows(filters, one))
    for search in (
        store.search_vector(unit(1, 2, 3, 4), 200, filters=filters),
        store.search_keyword("words", 200, filters=filters),
        store.search_hybrid("words", unit(1, 2, 3, 4), 200, filters=filters),
    ):
        assert sorted(names(search)) == expected
        scores = [one.score for one in search]
        assert scores == sorted(scores, reverse=True)
        assert all(0 <= score <= 1 for score in scores)
