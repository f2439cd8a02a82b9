import random
import shutil
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import numpy as np
import pytest

from lightspeed.errors import StorageError, Unavailable
from lightspeed.stack.providers.faiss_sqlite.catalog import Catalog
from lightspeed.stack.providers.faiss_sqlite.store import ChunkStore, StoreSettings
from tests.stack.providers.faiss_sqlite_data import chunk, names, unit
from tests.stack.providers.faiss_sqlite_writer import CHUNKS, DIMENSION, replaced

_REPOSITORY = Path(__file__).resolve().parents[3]
_KILLS = 20


@contextmanager
def writer(folder: Path, first: int) -> Iterator[subprocess.Popen[str]]:
    command = [sys.executable, "-m", "tests.stack.providers.faiss_sqlite_writer", str(folder), str(first)]
    with subprocess.Popen(command, cwd=_REPOSITORY, stdout=subprocess.PIPE, text=True) as process:
        try:
            yield process
        finally:
            process.kill()


def written_until_killed(folder: Path, first: int, seconds: float) -> int:
    """The last batch that the writer has acknowledged."""
    with writer(folder, first) as process:
        assert process.stdout is not None
        last = int(process.stdout.readline())
        time.sleep(seconds)
        process.kill()
        lines = process.stdout.read().split("\n")
        # The last line may be cut.
        return max([last, *(int(line) for line in lines[:-1])])


def documents_after(acknowledged: list[int]) -> set[str]:
    gone = {replaced(number) for number in acknowledged}
    return {f"batch{number}" for number in acknowledged if number not in gone}


def test_a_killed_writer_loses_nothing_it_has_acknowledged(tmp_path: Path) -> None:
    folder = tmp_path / "kb"
    chance = random.Random(7)
    stored: list[int] = []
    reader = ChunkStore(folder, DIMENSION)
    for _ in range(_KILLS):
        first = stored[-1] + 1 if stored else 0
        last = written_until_killed(folder, first, chance.uniform(0, 0.15))
        stored += range(first, last + 1)
        with closing(sqlite3.connect(folder / "chunks.db")) as connection:
            (newest,) = connection.execute(
                "SELECT document_id FROM chunks ORDER BY position DESC LIMIT 1"
            ).fetchone()
            counts = {
                connection.execute(f"SELECT count(*) FROM {table}").fetchone()[0]
                for table in ("chunks", "vectors", "terms")
            }
            assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        if newest == f"batch{last + 1}":  # stored, but killed before it could say so
            stored.append(last + 1)
        documents = documents_after(stored)
        assert set(reader.documents()) == documents
        assert counts == {len(documents) * CHUNKS}
        for number in stored[-3:]:
            expected = CHUNKS if f"batch{number}" in documents else 0
            found = reader.search_keyword(f"batch{number}", 2 * CHUNKS)
            assert len(found) == expected
            assert {one.chunk.document_id for one in found} <= {f"batch{number}"}
            vector = np.random.default_rng(number).standard_normal((CHUNKS, DIMENSION))[3]
            best = reader.search_vector(vector, 1)[0]
            assert (best.chunk.id == f"batch{number}-3" and best.score > 0.999) == (expected > 0)
    assert reader.index.live == len(documents) * CHUNKS
    assert len(stored) > 2 * _KILLS
    reader.close()


def test_a_reader_sees_what_another_process_writes(tmp_path: Path) -> None:
    folder = tmp_path / "kb"
    reader = ChunkStore(folder, DIMENSION)
    assert reader.search_vector(np.ones(DIMENSION), 1) == []
    with writer(folder, 0) as process:
        assert process.stdout is not None
        for _ in range(9):
            number = int(process.stdout.readline())
            vector = np.random.default_rng(number).standard_normal((CHUNKS, DIMENSION))[0]
            best = reader.search_vector(vector, 1)[0]
            assert best.chunk.id == f"batch{number}-0" or best.score < 0.999  # or it is replaced already
            if replaced(number) is not None:
                assert reader.search_keyword(f"batch{number - 1}", 1) == []
            reader.insert([chunk(f"mine-{number}", "mine")], [unit(*[1.0] * DIMENSION)])
    assert len(reader.search_keyword("mine", 50)) == 9
    assert reader.index.live <= reader.count()
    reader.refresh()
    assert reader.index.live == reader.count()
    reader.close()


def test_a_reader_notices_that_a_store_was_made_again(tmp_path: Path) -> None:
    folder = tmp_path / "kb"
    reader, maker = ChunkStore(folder, 2), ChunkStore(folder, 2)
    maker.insert([chunk("old", "apple", colour="red")], [unit(1, 0)])
    red = {"type": "eq", "key": "colour", "value": "red"}
    assert names(reader.search_vector(unit(1, 0), 5, filters=red)) == ["old"]
    maker.destroy()
    maker = ChunkStore(folder, 2)
    maker.insert(
        [chunk("new", "pear", colour="green"), chunk("red", "plum", colour="red")], [unit(1, 1), unit(0, 1)]
    )
    assert names(reader.search_vector(unit(1, 0), 5)) == ["new", "red"]
    assert names(reader.search_vector(unit(1, 0), 5, filters=red)) == ["red"]
    assert reader.search_keyword("apple", 5) == []
    reader.insert([chunk("more")], [unit(1, 0)])
    assert names(maker.search_vector(unit(1, 0), 1)) == ["more"]
    maker.destroy()
    ChunkStore(folder, 3).close()
    with pytest.raises(StorageError, match="made again with vectors of 3 dimensions"):
        reader.search_vector(unit(1, 0), 1)
    reader.close()


def test_writers_wait_for_each_other(tmp_path: Path) -> None:
    folder = tmp_path / "kb"
    store = ChunkStore(folder, 2)
    other = sqlite3.connect(folder / "chunks.db", isolation_level=None, check_same_thread=False)
    other.execute("BEGIN IMMEDIATE")
    release = threading.Timer(0.2, other.execute, ["COMMIT"])
    release.start()
    store.insert([chunk("a")], [unit(1, 0)])
    release.join()
    assert store.count() == 1

    impatient = ChunkStore(folder, 2, StoreSettings(busy_timeout=0.1))
    other.execute("BEGIN IMMEDIATE")
    for write in (
        lambda: impatient.insert([chunk("b")], [unit(1, 0)]),
        lambda: impatient.delete_chunks(["a"]),
    ):
        with pytest.raises(Unavailable, match=r"kb has been locked by other writers for 0\.1 s"):
            write()
    assert names(impatient.search_vector(unit(1, 0), 5)) == ["a"]
    other.execute("COMMIT")
    other.close()
    impatient.insert([chunk("b")], [unit(1, 0)])
    assert impatient.count() == 2
    impatient.close()
    store.close()


def test_who_opens_does_not_wait_for_writers(tmp_path: Path) -> None:
    folder = tmp_path / "kb"
    ChunkStore(folder, 2).close()
    Catalog(tmp_path).open()
    with (
        closing(sqlite3.connect(folder / "chunks.db", isolation_level=None)) as store,
        closing(sqlite3.connect(tmp_path / "catalog.db", isolation_level=None)) as catalog,
    ):
        store.execute("BEGIN IMMEDIATE")
        catalog.execute("BEGIN IMMEDIATE")
        Catalog(tmp_path, busy_timeout=0.1).open()
        opened = ChunkStore(folder, 2, StoreSettings(busy_timeout=0.1))
        assert opened.search_hybrid("words", unit(1, 0), 5) == []
    opened.close()


def test_many_may_make_one_store_at_once(tmp_path: Path) -> None:
    stores: list[ChunkStore] = []
    threads = [
        threading.Thread(target=lambda: stores.append(ChunkStore(tmp_path / "kb", 2))) for _ in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(stores) == 8
    for number, store in enumerate(stores):
        store.insert([chunk(f"{number}")], [unit(1, number)])
    assert [len(store.search_vector(unit(1, 0), 20)) for store in stores] == [8] * 8
    for store in stores:
        store.close()


def test_a_copy_of_a_store_is_a_store(tmp_path: Path) -> None:
    store = ChunkStore(tmp_path / "kb", 2)
    store.insert([chunk("a", "words")], [unit(1, 0)])
    store.close()
    shutil.copytree(tmp_path / "kb", tmp_path / "copy")
    copy = ChunkStore(tmp_path / "copy", 2)
    assert names(copy.search_hybrid("words", unit(1, 0), 5)) == ["a"]
    copy.close()


def test_an_older_copy_may_be_put_back_in_place(tmp_path: Path) -> None:
    store = ChunkStore(tmp_path / "kb", 2)
    store.insert([chunk("a", "apple", even=True), chunk("b", "pear", even=True)], [unit(1, 0), unit(0, 1)])
    even = {"type": "eq", "key": "even", "value": True}
    with (
        closing(sqlite3.connect(tmp_path / "kb" / "chunks.db")) as live,
        closing(sqlite3.connect(tmp_path / "copy.db")) as copy,
    ):
        live.backup(copy)
        store.insert([chunk("c", "plum", even=True)], [unit(1, 0.1)])
        store.delete_chunks(["a"])
        assert names(store.search_vector(unit(1, 0), 5, filters=even)) == ["c", "b"]
        copy.backup(live)
    assert names(store.search_vector(unit(1, 0), 5)) == ["a", "b"]
    assert names(store.search_vector(unit(1, 0), 5, filters=even)) == ["a", "b"]
    store.insert([chunk("d", "fig", even=False)], [unit(1, 0.2)])
    assert names(store.search_vector(unit(1, 0), 5)) == ["a", "d", "b"]
    assert names(store.search_vector(unit(1, 0), 5, filters=even)) == ["a", "b"]
    store.close()
