import json
import sqlite3
import stat
import threading
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest

from lightspeed.errors import NotFound, StorageError
from lightspeed.stack.providers.faiss_sqlite.chunks import NewChunk
from lightspeed.stack.providers.faiss_sqlite.sqlite_file import is_damage
from lightspeed.stack.providers.faiss_sqlite.store import ChunkStore
from tests.stack.providers.faiss_sqlite_data import chunk, names, unit

EAST, NORTH, WEST = unit(1, 0, 0), unit(0, 1, 0), unit(-1, 0, 0)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[ChunkStore]:
    store = ChunkStore(tmp_path / "stores" / "kb", 3)
    yield store
    store.close()


def test_the_nearest_chunks_come_first(store: ChunkStore) -> None:
    store.insert([chunk("east"), chunk("north"), chunk("west")], [EAST, NORTH, WEST])
    found = store.search_vector([2, 1, 0], 10)
    assert names(found) == ["east", "north", "west"]
    assert [one.score for one in found] == pytest.approx([2 / 5**0.5, 1 / 5**0.5, 0])
    assert names(store.search_vector([2, 1, 0], 1)) == ["east"]
    assert names(store.search_vector([2, 1, 0], 10, score_threshold=0.5)) == ["east"]
    assert store.search_vector([2, 1, 0], 0) == []


def test_the_length_of_a_vector_does_not_matter(store: ChunkStore) -> None:
    store.insert([chunk("long"), chunk("short")], [1e6 * EAST, 1e-6 * unit(1, 1, 0)])
    found = store.search_vector(1e-9 * unit(1, 1, 0), 2)
    assert names(found) == ["short", "long"]
    assert found[0].score == pytest.approx(1, abs=1e-6)
    assert found[0].score <= 1


def test_an_empty_store_finds_nothing(store: ChunkStore) -> None:
    assert store.search_vector(EAST, 5) == []
    assert store.search_keyword("anything", 5) == []
    assert store.search_hybrid("anything", EAST, 5) == []
    assert (store.count(), store.documents(), list(store.export())) == (0, {}, [])


def test_a_stored_chunk_comes_back_as_it_was(store: ChunkStore) -> None:
    new = NewChunk("a", "Größe 🚀\n", "doc", "file", {"title": "T", "n": 1, "x": 0.5, "yes": True}, 7)
    store.insert([new], [EAST])
    (found,) = store.chunks(["a"])
    assert (found.id, found.content, found.document_id, found.file_id) == ("a", "Größe 🚀\n", "doc", "file")
    assert found.metadata == {"title": "T", "n": 1, "x": 0.5, "yes": True}
    assert found.metadata["yes"] is True
    assert found.token_count == 7


def test_chunks_outlive_the_process(store: ChunkStore) -> None:
    store.insert([chunk("a", "some words")], [EAST])
    store.close()
    again = ChunkStore(store.folder, 3)
    assert names(again.search_vector(EAST, 1)) == names(again.search_keyword("words", 1)) == ["a"]
    again.close()


def test_metadata_become_scalars(store: ChunkStore) -> None:
    metadata = {
        "none": None,
        "nan": float("nan"),
        "infinite": float("inf"),
        "list": ["a", {"b": None}],
        "object": {"a": 1},
        "numpy": np.float32(0.5),
        "count": np.int64(3),
        "path": Path("/x"),
        7: "number",
        "surrogate": "a\ud800b",
    }
    store.insert([NewChunk("a", "half \udfff sign", metadata=metadata)], [EAST])
    (found,) = store.chunks(["a"])
    assert found.metadata == {
        "list": json.dumps(["a", {"b": None}]),
        "object": '{"a": 1}',
        "numpy": 0.5,
        "count": 3,
        "path": "/x",
        "7": "number",
        "surrogate": "a?b",
    }
    assert found.content == "half ? sign"


def test_a_chunk_with_a_known_id_replaces_the_old_one(store: ChunkStore) -> None:
    store.insert([chunk("a", "old words"), chunk("b", "other")], [EAST, NORTH])
    store.search_vector(EAST, 1)
    store.insert([chunk("a", "new words", version="2")], [WEST])
    assert store.count() == 2
    assert names(store.search_vector(WEST, 1)) == ["a"]
    assert store.search_vector(EAST, 3, score_threshold=0.9) == []
    assert store.search_keyword("old", 5) == []
    (found,) = store.search_keyword("new", 5)
    assert (found.chunk.content, found.chunk.metadata) == ("new words", {"version": "2"})


def test_of_two_chunks_with_one_id_the_last_counts(store: ChunkStore) -> None:
    store.insert([chunk("a", "first"), chunk("a", "second")], [EAST, NORTH])
    assert store.count() == 1
    assert store.chunks(["a"])[0].content == "second"
    assert names(store.search_vector(NORTH, 5, score_threshold=0.9)) == ["a"]


@pytest.mark.parametrize(
    ("vector", "problem"),
    [
        ([0, 0, 0], r"chunk 'bad' is all zeros"),
        ([1, float("nan"), 0], r"chunk 'bad' holds values that are not finite"),
        ([float("inf"), 0, 0], r"chunk 'bad' holds values that are not finite"),
        ([1e300, 0, 0], r"chunk 'bad' holds values that are not finite"),
        ([1, 0], r"chunk 'bad' has the shape \(2,\), not \(3,\)"),
        ([[1, 0, 0]], r"chunk 'bad' has the shape \(1, 3\)"),
    ],
)
def test_a_vector_that_cannot_be_searched_is_refused(
    store: ChunkStore, vector: list[float], problem: str
) -> None:
    with pytest.raises(ValueError, match=problem):
        store.insert([chunk("good"), chunk("bad")], [[1, 0, 0], vector])
    assert store.count() == 0
    with pytest.raises(ValueError, match=problem.replace("chunk 'bad'", "the query")):
        store.search_vector(vector, 1)


@pytest.mark.parametrize("name", ["", "half \ud800", "null \0"])
def test_a_name_that_cannot_be_stored_is_refused(store: ChunkStore, name: str) -> None:
    with pytest.raises(ValueError, match=r"name|needs an id"):
        store.insert([chunk(name)], [EAST])
    if name:
        with pytest.raises(ValueError, match="name"):
            store.insert([chunk("a", document_id=name)], [EAST])


def test_a_number_of_tokens_that_no_database_holds_is_not_kept(store: ChunkStore) -> None:
    store.insert([NewChunk("a", "text", token_count=2**70)], [EAST])
    assert store.chunks(["a"])[0].token_count is None


def test_the_numbers_of_chunks_and_vectors_must_agree(store: ChunkStore) -> None:
    with pytest.raises(ValueError, match="2 chunks need as many vectors, not 1"):
        store.insert([chunk("a"), chunk("b")], [EAST])


def test_documents_are_replaced_in_one_step(store: ChunkStore) -> None:
    old = [chunk(f"old-{n}", "old", document_id="d", content_hash="1") for n in range(3)]
    store.insert([*old, chunk("other", document_id="e", content_hash="9")], [EAST] * 4)
    with pytest.raises(ValueError, match="all zeros"):
        store.insert([chunk("new", "new", document_id="d")], [[0, 0, 0]], replacing=["d"])
    assert store.documents() == {"d": "1", "e": "9"}
    store.insert(
        [chunk("new", "new", document_id="d", content_hash="2")], [NORTH], replacing=["d", "unknown"]
    )
    assert store.documents() == {"d": "2", "e": "9"}
    assert store.count() == 2
    assert store.search_keyword("old", 5) == []


def test_deleted_chunks_are_found_no_more(store: ChunkStore) -> None:
    chunks = [chunk(f"{n}", f"word{n}", document_id=f"d{n % 2}", file_id=f"f{n % 3}") for n in range(6)]
    store.insert(chunks, [unit(1, n, 0) for n in range(6)])
    store.search_vector(EAST, 1)
    assert store.delete_chunks(["0", "unknown"]) == 1
    assert store.delete_file("f1") == 2  # 1 and 4
    assert store.delete_documents(["d1", "d7"]) == 2  # 3 and 5
    assert names(store.search_vector(EAST, 10)) == names(store.search_hybrid("word2", EAST, 10)) == ["2"]
    assert [names(store.search_keyword(f"word{n}", 5)) for n in range(6)] == [[], [], ["2"], [], [], []]
    assert store.delete_chunks([]) == 0
    store.insert([chunk("last", "word9")], [EAST])
    assert names(store.search_vector(EAST, 10)) == ["last", "2"]


def test_chunks_of_a_document_come_in_reading_order(store: ChunkStore) -> None:
    ordered = [chunk(f"c{n}", document_id="d", file_id="f", chunk_index=n) for n in (2, 0, 10, 1)]
    store.insert([*ordered, chunk("x", document_id="e", position=1), chunk("y", document_id="e")], [EAST] * 6)
    assert [one.id for one in store.chunks_of_document("d")] == ["c0", "c1", "c2", "c10"]
    assert [one.id for one in store.chunks_of_file("f")] == ["c0", "c1", "c2", "c10"]
    assert store.chunks_of_document("unknown") == []
    before, after = store.neighbours(store.chunks(["c2"])[0], 2)
    assert [one.id for one in before] == ["c0", "c1"]
    assert [one.id for one in after] == ["c10"]
    assert store.neighbours(store.chunks(["y"])[0]) == ([], [])
    assert [one.id for one in store.chunks_of_document("e")] == ["x", "y"]


def test_an_export_holds_all_chunks_with_their_vectors(store: ChunkStore) -> None:
    vectors = np.random.default_rng(0).standard_normal((7, 3)).astype(np.float32)
    store.insert([chunk(f"{n}") for n in range(7)], vectors)
    batches = list(store.export(batch=3))
    assert [len(chunks) for chunks, _ in batches] == [3, 3, 1]
    assert [one.id for chunks, _ in batches for one in chunks] == [f"{n}" for n in range(7)]
    np.testing.assert_array_equal(np.concatenate([part for _, part in batches]), vectors)


def test_a_store_is_for_its_owner_only(store: ChunkStore) -> None:
    store.insert([chunk("a")], [EAST])
    store.build_index()
    assert stat.S_IMODE(store.folder.stat().st_mode) == 0o700
    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in store.folder.iterdir()}
    assert set(modes.values()) == {0o600}
    assert "chunks.db" in modes
    assert store.size() == sum(path.stat().st_size for path in store.folder.iterdir())


def test_a_store_of_another_dimension_or_format_is_refused(store: ChunkStore, tmp_path: Path) -> None:
    store.close()
    with pytest.raises(ValueError, match="kb holds vectors of 3 dimensions, not 4"):
        ChunkStore(store.folder, 4)
    with pytest.raises(ValueError, match="at least 1"):
        ChunkStore(tmp_path / "new", 0)
    (store.folder / "chunks.db").write_bytes(b"This is no database at all." * 1000)
    with pytest.raises(StorageError, match="kb: file is not a database"):
        ChunkStore(store.folder, 3)


def test_a_destroyed_store_is_gone(store: ChunkStore) -> None:
    store.insert([chunk("a")], [EAST])
    other = ChunkStore(store.folder, 3)
    other.search_vector(EAST, 1)
    store.destroy()
    assert list(store.folder.parent.iterdir()) == []
    with pytest.raises(StorageError, match="kb is closed"):
        store.count()
    with pytest.raises(NotFound, match="kb does not exist"):
        other.search_vector(EAST, 1)
    with pytest.raises(NotFound, match="kb does not exist"):
        other.insert([chunk("b")], [EAST])
    assert not store.folder.exists()
    other.close()


def test_what_a_killed_destroyer_left_is_removed(tmp_path: Path) -> None:
    left = tmp_path / ".kb.0badcafe.destroyed"
    left.mkdir()
    (left / "chunks.db").touch()
    (tmp_path / ".kb2.0badcafe.destroyed").mkdir()
    ChunkStore(tmp_path / "kb", 3).close()
    assert sorted(path.name for path in tmp_path.iterdir()) == [".kb2.0badcafe.destroyed", "kb"]


def test_a_store_that_cannot_be_removed_is_named(tmp_path: Path) -> None:
    store = ChunkStore(tmp_path / ("k" * 240), 2)
    with pytest.raises(StorageError, match="cannot be removed: File name too long"):
        store.destroy()


@pytest.mark.parametrize(
    ("damage", "problem"),
    [
        ("UPDATE vectors SET vector = x'0000'", "its vectors are damaged"),
        ("UPDATE vectors SET vector = 7", "its vectors are damaged"),
        ("UPDATE chunks SET metadata = '{'", "the metadata of chunk 'a' are damaged"),
        ("UPDATE chunks SET content = CAST(x'73656372ff' AS TEXT)", "it holds text that is damaged$"),
    ],
)
def test_what_cannot_be_decoded_is_damage(store: ChunkStore, damage: str, problem: str) -> None:
    store.insert([chunk("a", "words")], [EAST])
    with closing(sqlite3.connect(store.folder / "chunks.db")) as connection, connection:
        connection.execute(damage)
    for read in (
        lambda: store.search_vector(EAST, 1),
        lambda: store.search_hybrid("words", EAST, 1),
        lambda: list(store.export()),
    ):
        with pytest.raises(StorageError, match=f"kb: {problem}") as caught:
            read()
        assert is_damage(caught.value)


def test_many_threads_use_one_store(store: ChunkStore) -> None:
    failures: list[BaseException] = []

    def work(number: int) -> None:
        try:
            for turn in range(10):
                name = f"{number}-{turn}"
                store.insert([chunk(name, f"word{number}", document_id=f"{number}")], [unit(1, number, turn)])
                found = store.search_vector(unit(1, number, turn), 200)
                assert name in names(found)
                assert len(store.search_keyword(f"word{number}", 50)) == turn + 1
                if turn == 9 and number % 2:
                    store.delete_documents([f"{number}"])
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    assert sorted(store.documents()) == ["0", "2", "4", "6"]
    assert len(store.search_vector(EAST, 200)) == 40


def test_the_documents_that_a_filter_allows(store: ChunkStore) -> None:
    store.insert(
        [
            NewChunk("a0", "x", "a", metadata={"root": "guides"}),
            NewChunk("a1", "y", "a", metadata={"root": "guides"}),
            NewChunk("b0", "z", "b", metadata={"root": "manuals"}),
            NewChunk("c0", "w", None, metadata={"root": "guides"}),
        ],
        [EAST, NORTH, WEST, EAST],
    )
    assert store.documents_where({"type": "eq", "key": "root", "value": "guides"}) == ["a"]
    with pytest.raises(ValueError, match="type of a filter"):
        store.documents_where({"type": "like"})
