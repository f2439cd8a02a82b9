import json
import os
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import faiss
import numpy as np
import pytest

from lightspeed.errors import StorageError
from lightspeed.stack.providers.faiss_sqlite.building import number_of_lists
from lightspeed.stack.providers.faiss_sqlite.chunks import Positions, Vectors
from lightspeed.stack.providers.faiss_sqlite.snapshots import StoredVectors
from lightspeed.stack.providers.faiss_sqlite.store import ChunkStore, StoreSettings
from lightspeed.stack.providers.faiss_sqlite.vectors import VectorMatrix, faiss_threads
from tests.stack.providers.faiss_sqlite_data import ClusteredVectors, chunk, names, unit

DIMENSION = 48
COUNT = 4000
APPROXIMATE = StoreSettings(approximate_above=1000)
EXACT = StoreSettings(index="exact", approximate_above=1000)


@pytest.fixture(scope="module")
def data() -> tuple[Vectors, Vectors]:
    """Vectors and queries."""
    source = ClusteredVectors(COUNT, DIMENSION, seed=5)
    return np.concatenate(list(source.batches(1000))), source.queries(50)


@pytest.fixture
def folder(tmp_path: Path, data: tuple[Vectors, Vectors]) -> Path:
    """A store of 4,000 chunks, closed."""
    store = ChunkStore(tmp_path / "kb", DIMENSION, EXACT)
    chunks = [chunk(f"{n}", group=n % 100, half=n % 2 == 0) for n in range(COUNT)]
    store.insert(chunks, data[0])
    store.close()
    return store.folder


@pytest.fixture
def opened(folder: Path) -> Iterator[Callable[..., ChunkStore]]:
    stores: list[ChunkStore] = []

    def open_store(settings: StoreSettings = APPROXIMATE) -> ChunkStore:
        stores.append(ChunkStore(folder, DIMENSION, settings))
        return stores[-1]

    yield open_store
    for store in stores:
        store.close()


def recall(store: ChunkStore, data: tuple[Vectors, Vectors], limit: int = 10, **options: Any) -> float:
    """Of what an exact search finds; `chosen` tells which rows count."""
    chosen = options.pop("chosen", np.arange(COUNT))
    vectors, queries = data
    hits = 0
    for query in queries:
        expected = chosen[np.argsort(-(vectors[chosen] @ query))[:limit]]
        found = names(store.search_vector(query, limit, **options))
        assert len(found) == limit
        hits += len({str(row) for row in expected} & set(found))
    return hits / (len(queries) * limit)


def until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline, "not in a minute"
        time.sleep(0.02)


def snapshots(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.glob("*approximate-*"))


def test_an_exact_search_is_exact(opened: Callable[..., ChunkStore], data: tuple[Vectors, Vectors]) -> None:
    store = opened(EXACT)
    assert recall(store, data) == 1
    scores = [one.score for one in store.search_vector(data[1][0], 5)]
    assert scores == pytest.approx(sorted(data[0] @ data[1][0], reverse=True)[:5], abs=1e-6)
    assert not store.index.approximate


def test_an_approximate_search_finds_nearly_the_same(
    opened: Callable[..., ChunkStore], data: tuple[Vectors, Vectors], folder: Path
) -> None:
    store = opened()
    assert store.build_index()
    assert recall(store, data) >= 0.95
    assert store.index.approximate
    assert store.index.held_bytes < 10_000
    exact = {one.chunk.id: one.score for one in opened(EXACT).search_vector(data[1][0], 10)}
    found = {one.chunk.id: one.score for one in store.search_vector(data[1][0], 10)}
    both = sorted(exact.keys() & found.keys())
    assert [found[name] for name in both] == pytest.approx([exact[name] for name in both], abs=1e-6)
    assert len(snapshots(folder)) == 1


def test_the_index_is_built_in_the_background(
    opened: Callable[..., ChunkStore], data: tuple[Vectors, Vectors]
) -> None:
    store = opened()
    assert recall(store, data) == 1

    def approximate() -> bool:
        store.refresh()
        return store.index.approximate

    until(approximate)
    assert recall(store, data) >= 0.95
    assert not store.index.rebuild_due
    later = opened()
    later.refresh()
    assert later.index.approximate


def test_new_and_deleted_chunks_beside_an_index(
    opened: Callable[..., ChunkStore], data: tuple[Vectors, Vectors]
) -> None:
    store = opened()
    store.build_index()
    query = data[1][0]
    best = names(store.search_vector(query, 4))
    store.delete_chunks(best[:2])
    store.insert([chunk("new"), chunk(best[2])], [query, -query])
    assert names(store.search_vector(query, 2)) == ["new", best[3]]
    assert store.index.approximate
    again = opened()
    assert names(again.search_vector(query, 2)) == ["new", best[3]]
    assert again.index.approximate
    assert again.index.live == again.count() == COUNT - 1


@pytest.mark.parametrize(
    ("key", "value", "chosen"), [("group", 7, slice(7, None, 100)), ("half", True, slice(0, None, 2))]
)
def test_filters_cost_no_recall(
    opened: Callable[..., ChunkStore], data: tuple[Vectors, Vectors], key: str, value: int, chosen: slice
) -> None:
    store = opened()
    store.build_index()
    filters = {"type": "eq", "key": key, "value": value}
    assert recall(store, data, filters=filters, chosen=np.arange(COUNT)[chosen]) >= 0.95
    assert store.index.approximate
    nothing = {"type": "eq", "key": key, "value": -1}
    assert store.search_vector(data[1][0], 3, filters=nothing) == []


def test_an_index_is_built_anew_when_too_much_is_new_or_gone(
    opened: Callable[..., ChunkStore], data: tuple[Vectors, Vectors], folder: Path
) -> None:
    store = opened()
    store.build_index()
    (first,) = snapshots(folder)
    store.insert([chunk(f"new-{n}") for n in range(300)], data[0][:300])
    store.refresh()
    assert not store.index.rebuild_due
    store.insert([chunk(f"more-{n}") for n in range(200)], data[0][:200])
    store.refresh()
    until(lambda: len(snapshots(folder)) == 1 and snapshots(folder) != [first])
    (second,) = snapshots(folder)
    store.delete_chunks([f"{n}" for n in range(1500)])
    store.refresh()
    until(lambda: len(snapshots(folder)) == 1 and snapshots(folder) != [second])
    store.refresh()
    assert store.index.live == store.count() == COUNT - 1000
    assert store.index.held_bytes < 10_000


def test_a_reader_that_comes_late_counts_what_was_deleted_before_the_index_once(
    opened: Callable[..., ChunkStore],
) -> None:
    late, store = opened(), opened()
    late.index.refresh()
    store.delete_chunks([f"{n}" for n in range(COUNT // 2)])
    store.build_index()
    late.refresh()
    assert late.index.approximate
    assert late.index.live == late.count()
    assert not late.index.rebuild_due


def test_what_is_deleted_during_a_build_counts_once(
    opened: Callable[..., ChunkStore], folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store, other = opened(), opened()
    batches = StoredVectors.batches

    def late_batches(source: StoredVectors) -> Iterator[tuple[Positions, Vectors]]:
        other.delete_chunks([f"{n}" for n in range(100)])
        yield from batches(source)

    monkeypatch.setattr(StoredVectors, "batches", late_batches)
    assert store.build_index()
    store.refresh()
    assert store.index.approximate
    assert store.index.live == store.count() == COUNT - 100


def test_deletions_cost_no_recall(opened: Callable[..., ChunkStore], data: tuple[Vectors, Vectors]) -> None:
    store = opened()
    store.build_index()
    left = np.arange(0, COUNT, 40)
    gone = np.setdiff1d(np.arange(COUNT), left)
    store.delete_chunks([str(row) for row in gone])
    assert recall(store, data, chosen=left) >= 0.95
    assert store.index.approximate


def test_a_filter_that_allows_nothing_near_finds_the_others(tmp_path: Path) -> None:
    random = np.random.default_rng(5)
    groups = np.arange(2000) % 2
    vectors = unit(1, 0, 0, 0) * np.where(groups, 1, -1)[:, np.newaxis]
    vectors = vectors + 0.1 * random.standard_normal((2000, 4))
    store = ChunkStore(tmp_path / "kb", 4, APPROXIMATE)
    store.insert([chunk(f"{n}", group=int(groups[n])) for n in range(2000)], vectors)
    store.build_index()
    far = {"type": "eq", "key": "group", "value": 0}
    assert len(store.search_vector(unit(1, 0, 0, 0), 20, filters=far)) == 20
    assert store.index.approximate
    store.close()


def cut(path: Path) -> None:
    os.truncate(path, path.stat().st_size // 2)


def flip(path: Path) -> None:
    with path.open("r+b") as file:
        file.seek(path.stat().st_size // 2)
        byte = file.read(1)
        file.seek(-1, os.SEEK_CUR)
        file.write(bytes([byte[0] ^ 1]))


@pytest.mark.parametrize(
    "damage",
    [
        cut,
        flip,
        Path.unlink,
        lambda path: path.write_bytes(b"") and None,
        lambda path: path.write_bytes(os.urandom(9999)) and None,
    ],
)
def test_a_damaged_index_is_built_anew(
    opened: Callable[..., ChunkStore],
    data: tuple[Vectors, Vectors],
    folder: Path,
    damage: Callable[[Path], None],
) -> None:
    opened().build_index()
    (name,) = snapshots(folder)
    damage(folder / name)
    store = opened()
    assert recall(store, data) == 1  # exact, until there is an index again

    def approximate() -> bool:
        store.refresh()
        return store.index.approximate

    until(approximate)
    assert recall(store, data) >= 0.95
    assert len(snapshots(folder)) == 1
    assert snapshots(folder) != [name]


def test_an_index_of_another_store_is_not_used(opened: Callable[..., ChunkStore], folder: Path) -> None:
    store = opened()
    store.build_index()
    with closing(sqlite3.connect(folder / "chunks.db")) as connection:
        (stored,) = connection.execute("SELECT value FROM properties WHERE name = 'snapshot'").fetchone()
        connection.execute("UPDATE properties SET value = 'another' WHERE name = 'generation'")
        connection.execute(
            "UPDATE properties SET value = ? WHERE name = 'snapshot'",
            (json.dumps({**json.loads(stored), "checksum": 1}),),
        )
        connection.commit()
    store.refresh()
    assert not store.index.approximate
    assert store.index.live == COUNT


def test_deletions_that_the_log_has_forgotten(
    opened: Callable[..., ChunkStore], data: tuple[Vectors, Vectors], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("lightspeed.stack.providers.faiss_sqlite.rows._LOGGED_DELETIONS", 5)
    store, exact = opened(), opened(EXACT)
    store.build_index()
    best = names(store.search_vector(data[1][0], 30))
    assert exact.search_vector(data[1][0], 30)
    for name in best[:20]:
        store.delete_chunks([name])
    for one in (store, exact, opened(), opened(EXACT)):
        assert set(names(one.search_vector(data[1][0], 5))).isdisjoint(best[:20])
        assert one.index.live == COUNT - 20


def test_only_one_process_builds(opened: Callable[..., ChunkStore], folder: Path) -> None:
    import fcntl

    store = opened()
    with (folder / "approximate.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        assert not store.build_index()
    assert store.build_index()


def test_closing_ends_a_build(opened: Callable[..., ChunkStore], folder: Path) -> None:
    store = opened()
    store.refresh()
    store.close()
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("index of")]
    assert not list(folder.glob(".approximate-*"))


def test_a_build_that_fails_leaves_the_search_alone(
    opened: Callable[..., ChunkStore],
    data: tuple[Vectors, Vectors],
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    def full(index: Any, path: str) -> None:
        raise RuntimeError("no space left on device")

    monkeypatch.setattr(faiss, "write_index", full)
    store = opened()
    assert recall(store, data) == 1
    until(lambda: "cannot be built" in caplog.text and "kb: no space left" in caplog.text)
    assert recall(store, data) == 1
    assert snapshots(folder) == []
    with pytest.raises(StorageError, match="kb: no space left"):
        store.build_index()


def test_the_number_of_lists() -> None:
    assert [number_of_lists(count) for count in (1, 1000, 200_000, 1_000_000)] == [1, 32, 512, 1024]


def test_memory_holds_the_vectors_and_little_else(tmp_path: Path) -> None:
    dimension, batch = 64, 500
    vectors = np.random.default_rng(0).standard_normal((batch, dimension)).astype(np.float32)
    store = ChunkStore(tmp_path / "kb", dimension)
    for turn in range(40):
        store.insert([chunk(f"{turn}-{n}") for n in range(batch)], vectors)
        store.refresh()
        raw = (turn + 1) * vectors.nbytes
        assert store.index.held_bytes < 2.5 * raw
    store.close()
    again = ChunkStore(tmp_path / "kb", dimension)
    again.refresh()
    assert again.index.held_bytes < 1.7 * raw
    again.delete_chunks([f"{turn}-{n}" for turn in range(15) for n in range(batch)])
    again.refresh()
    assert again.index.live == 25 * batch
    assert again.index.held_bytes < 2.5 * 25 * vectors.nbytes
    assert len(again.search_vector(vectors[0], 100)) == 100
    again.close()


def test_a_matrix_leaves_out_the_dead_ones() -> None:
    vectors = np.eye(5, dtype=np.float32)
    matrix = VectorMatrix(5)
    matrix.append(np.array([3, 5, 8, 9, 12]), vectors)
    assert matrix.remove(np.array([1, 5, 12, 40])).tolist() == [1, 40]
    assert (len(matrix), matrix.dead) == (5, 2)
    assert matrix.search(vectors[1], 5).positions.tolist() == [3, 8, 9]
    assert matrix.search(vectors[1], 5, np.array([2, 5, 8, 9])).positions.tolist() == [8, 9]
    small = matrix.compacted(above=3)
    assert (len(small), small.dead) == (2, 0)
    assert small.search(vectors[2], 5).positions.tolist() == [8, 9]


def test_threads_of_faiss_are_set_for_this_thread_only() -> None:
    seen: list[int] = []
    before = faiss.omp_get_max_threads()
    with faiss_threads(before + 1):
        other = threading.Thread(target=lambda: seen.append(faiss.omp_get_max_threads()))
        other.start()
        other.join()
        assert faiss.omp_get_max_threads() == before + 1
    assert faiss.omp_get_max_threads() == before
    assert before + 1 not in seen
