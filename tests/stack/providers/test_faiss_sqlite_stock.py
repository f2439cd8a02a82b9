import asyncio
import base64
import io
import json
import shutil
import sqlite3
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, closing
from pathlib import Path
from typing import Any

import faiss
import numpy as np
import pytest

from lightspeed.errors import NotFound, StorageError
from lightspeed.stack.providers.faiss_sqlite.chunks import NewChunk, Vectors
from lightspeed.stack.providers.faiss_sqlite.json_stream import JsonStream
from lightspeed.stack.providers.faiss_sqlite.stock_chunks import ReadingReport
from lightspeed.stack.providers.faiss_sqlite.stock_store import StockStore, StockStoreReader, stock_stores
from lightspeed.stack.providers.faiss_sqlite.store import ChunkStore
from tests.stack.providers.faiss_sqlite_data import names

DIMENSION = 8
STORE = "vs_1"


@pytest.fixture(scope="module")
def vectors() -> Vectors:
    return np.random.default_rng(1).standard_normal((50, DIMENSION)).astype(np.float32)


@pytest.fixture(scope="module")
def stock_file(tmp_path_factory: pytest.TempPathFactory, vectors: Vectors) -> Path:
    """Two stores, written by the stack's own provider; of the first, chunks 10 and 49 were deleted."""
    path = tmp_path_factory.mktemp("stock") / "faiss_store.db"
    asyncio.run(_write_with_the_stack(path, vectors))
    return path


async def _write_with_the_stack(path: Path, vectors: Vectors) -> None:
    from llama_stack_api import VectorStore

    async with stack_kvstore(path) as kvstore:
        registered = VectorStore(
            identifier=STORE,
            provider_id="faiss",
            provider_resource_id=STORE,
            embedding_model="sentence-transformers/all-mpnet-base-v2",
            embedding_dimension=DIMENSION,
            vector_store_name="Handbook",
        )
        await kvstore.set(key=f"vector_stores:v3::{STORE}", value=registered.model_dump_json())
        index = await stack_index(kvstore, DIMENSION, STORE)
        await index.add_chunks([stack_chunk(n, vector) for n, vector in enumerate(vectors)])
        await remove(index, 10, 49)
        empty = await stack_index(kvstore, 3, "vs_empty")
        await empty._save_index()


@asynccontextmanager
async def stack_kvstore(path: Path) -> AsyncIterator[Any]:
    from llama_stack.core.storage.datatypes import KVStoreReference, SqliteKVStoreConfig
    from llama_stack.core.storage.kvstore import kvstore_impl, register_kvstore_backends

    register_kvstore_backends({"byok": SqliteKVStoreConfig(db_path=str(path))})
    kvstore = await kvstore_impl(KVStoreReference(backend="byok", namespace="vector_io::faiss"))
    yield kvstore
    await kvstore.shutdown()


async def stack_index(kvstore: Any, dimension: int, store: str) -> Any:
    from llama_stack.providers.inline.vector_io.faiss.faiss import FaissIndex

    return await FaissIndex.create(dimension, kvstore, store)


def stack_chunk(n: int, vector: Vectors, document: str | None = None) -> Any:
    from llama_stack_api import ChunkMetadata, EmbeddedChunk

    return EmbeddedChunk(
        content=f'Chunk {n}: "quoted" \\ Größe 🚀\n',
        chunk_id=f"chunk-{n}",
        metadata={"document_id": document or f"doc-{n // 10}", "title": "T", "n": n},
        chunk_metadata=ChunkMetadata(chunk_id=f"chunk-{n}", content_token_count=n),
        embedding=vector.tolist(),
        embedding_model="m",
        embedding_dimension=DIMENSION,
    )


async def remove(index: Any, *numbers: int) -> None:
    from llama_stack_api import ChunkForDeletion

    await index.delete_chunks([ChunkForDeletion(chunk_id=f"chunk-{n}", document_id="d") for n in numbers])


def read(path: Path, store: str = STORE, size: int = 500) -> tuple[list[NewChunk], Vectors, ReadingReport]:
    with StockStoreReader(path, store) as reader:
        batches = list(reader.batches(size))
        assert all(0 < len(chunks) <= size for chunks, _ in batches)
        chunks = [chunk for part, _ in batches for chunk in part]
        empty = np.empty((0, reader.dimension), np.float32)
        return chunks, np.concatenate([empty, *(part for _, part in batches)]), reader.report


def test_what_the_stack_has_written(stock_file: Path, vectors: Vectors) -> None:
    chunks, found, report = read(stock_file, size=7)
    expected = [n for n in range(49) if n != 10]
    assert [chunk.id for chunk in chunks] == [f"chunk-{n}" for n in expected]
    np.testing.assert_array_equal(found, vectors[expected])
    assert chunks[20] == NewChunk(
        "chunk-21",
        'Chunk 21: "quoted" \\ Größe 🚀\n',
        "doc-2",
        None,
        {"document_id": "doc-2", "title": "T", "n": 21},
        21,
    )
    assert (report.read, report.mended) == (48, 0)
    # The stack left the text of the last chunk behind.
    assert report.problems == ["chunk 48: there is no vector for it"] * report.skipped


def test_chunks_that_the_stack_has_numbered_wrongly(tmp_path: Path, vectors: Vectors) -> None:
    """It leaves the text of a last chunk that was deleted, so that later ones do not stand at their rows."""

    async def write() -> None:
        async with stack_kvstore(tmp_path / "byok.db") as kvstore:
            index = await stack_index(kvstore, DIMENSION, STORE)
            await index.add_chunks([stack_chunk(n, vectors[n]) for n in range(4)])
            await remove(index, 3)
            await index.add_chunks([stack_chunk(3, vectors[3], "again"), stack_chunk(5, vectors[5])])
            await remove(index, 1)
            await index.add_chunks([stack_chunk(6, vectors[6])])

    asyncio.run(write())
    chunks, found, report = read(tmp_path / "byok.db")
    assert [(chunk.id, chunk.document_id) for chunk in chunks] == [
        ("chunk-0", "doc-0"),
        ("chunk-2", "doc-0"),
        ("chunk-3", "again"),
        ("chunk-5", "doc-0"),
        ("chunk-6", "doc-0"),
    ]
    np.testing.assert_array_equal(found, vectors[[0, 2, 3, 5, 6]])
    assert report.problems == ["chunk 2: there is no vector for it"]


def test_the_stores_of_a_file(stock_file: Path) -> None:
    assert stock_stores(stock_file) == [
        StockStore(STORE, "Handbook", "sentence-transformers/all-mpnet-base-v2", DIMENSION),
        StockStore("vs_empty"),
    ]
    chunks, _, report = read(stock_file, "vs_empty")
    assert (chunks, report) == ([], ReadingReport())


def test_an_imported_store_is_searched(stock_file: Path, tmp_path: Path, vectors: Vectors) -> None:
    with StockStoreReader(stock_file, STORE) as reader:
        store = ChunkStore(tmp_path / "kb", reader.dimension)
        for chunks, part in reader.batches(20):
            store.insert(chunks, part)
    assert store.count() == 48
    found = store.search_vector(vectors[30], 3)
    assert names(found)[0] == "chunk-30"
    assert found[0].score == pytest.approx(1)
    assert [chunk.id for chunk in store.chunks_of_document("doc-4")] == [f"chunk-{n}" for n in range(40, 49)]
    store.close()


@pytest.mark.parametrize("journal", ["delete", "wal"])
def test_reading_changes_nothing(tmp_path: Path, vectors: Vectors, journal: str) -> None:
    path = tmp_path / "byok.db"
    write(path, [stored(0)], vectors[:1])
    with closing(sqlite3.connect(path)) as connection:
        connection.execute(f"PRAGMA journal_mode={journal}")
    path.chmod(0o400)
    before = path.read_bytes(), path.stat().st_mtime_ns
    assert len(read(path)[0]) == len(stock_stores(path)) == 1
    assert (path.read_bytes(), path.stat().st_mtime_ns) == before
    assert list(tmp_path.iterdir()) == [path]


def test_a_file_that_another_process_writes_is_read_as_it_is(tmp_path: Path, vectors: Vectors) -> None:
    path = tmp_path / "byok.db"
    write(path, [stored(0)], vectors[:1])
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA journal_mode=wal")
        connection.execute("INSERT INTO kvstore VALUES ('faiss_index:v3::late', '{}', NULL)")
        connection.commit()
        assert [store.id for store in stock_stores(path)] == ["late", STORE]


@pytest.fixture(params=["delete", "wal"])
def half_written(request: pytest.FixtureRequest, tmp_path: Path, vectors: Vectors) -> Path:
    """What is left of a database whose writer was killed; it had just added the store `late`."""
    write(tmp_path / "byok.db", [stored(0)], vectors[:1])
    (tmp_path / "killed").mkdir()
    with closing(sqlite3.connect(tmp_path / "byok.db", isolation_level=None)) as connection:
        connection.execute(f"PRAGMA journal_mode={request.param}")
        connection.execute("PRAGMA cache_size=2")
        connection.execute("BEGIN")
        connection.execute("INSERT INTO kvstore VALUES ('faiss_index:v3::late', '{}', NULL)")
        for number in range(50):
            connection.execute("INSERT INTO kvstore VALUES (?, ?, NULL)", (f"k{number}", "y" * 4000))
        if request.param == "wal":
            connection.execute("COMMIT")
        for path in tmp_path.glob("byok.db*"):
            if not path.name.endswith("-shm"):
                shutil.copy(path, tmp_path / "killed")
    return tmp_path / "killed" / "byok.db"


def test_a_file_whose_writer_was_killed_is_read_whole_or_not_at_all(
    half_written: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # As in a folder that cannot be written.
    monkeypatch.setattr("os.access", lambda *_: False)
    before = half_written.read_bytes()
    if half_written.with_name("byok.db-journal").exists():
        with pytest.raises(StorageError, match=r"has left byok.db-journal beside it: open it once"):
            stock_stores(half_written)
    else:
        assert [store.id for store in stock_stores(half_written)] == ["late", STORE]
    assert half_written.read_bytes() == before


def stored(number: int, **changes: Any) -> dict[str, Any]:
    chunk = {
        "content": f"text {number}",
        "chunk_id": f"c{number}",
        "metadata": {"document_id": "d"},
        "chunk_metadata": {"content_token_count": 3},
        "embedding": [],
    }
    return {key: value for key, value in {**chunk, **changes}.items() if value != "absent"}


def npy_of(index: Any, version: tuple[int, int] = (1, 0)) -> str:
    buffer = io.BytesIO()
    np.lib.format.write_array(buffer, faiss.serialize_index(index), version=version)
    return base64.b64encode(buffer.getvalue()).decode()


def flat(vectors: Vectors, kind: Callable[[int], Any] = faiss.IndexFlatL2) -> Any:
    index = kind(vectors.shape[1])
    index.add(vectors)
    return index


def write(path: Path, chunks: list[Any], vectors: Vectors, **value: Any) -> None:
    texts = {
        str(row): chunk if isinstance(chunk, str) else json.dumps(chunk) for row, chunk in enumerate(chunks)
    }
    value = {"chunk_by_index": texts, "faiss_index": npy_of(flat(vectors)), **value}
    write_value(path, json.dumps(value))


def write_value(path: Path, value: str) -> None:
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("CREATE TABLE kvstore (key TEXT PRIMARY KEY, value TEXT, expiration TIMESTAMP)")
        connection.execute("INSERT INTO kvstore VALUES (?, ?, NULL)", (f"faiss_index:v3::{STORE}", value))
        connection.commit()


@pytest.mark.parametrize(
    ("changes", "expected", "problem"),
    [
        ({"chunk_id": "absent"}, {"id": None}, "it has no chunk_id"),
        ({"chunk_id": None}, {"id": None}, "it has no chunk_id"),
        ({"chunk_id": "absent", "chunk_metadata": {"chunk_id": "x"}}, {"id": "x"}, None),
        ({"chunk_id": "c0"}, {"id": "c0-1"}, "another chunk has the chunk_id c0"),
        ({"chunk_metadata": None}, {"token_count": None}, "it has no chunk_metadata"),
        ({"metadata": None}, {"document_id": None, "metadata": {}}, "it has no metadata"),
        ({"metadata": [1]}, {"metadata": {}}, "it has no metadata"),
        ({"metadata": {"a": None, "b": ["x"]}}, {"metadata": {"a": None, "b": ["x"]}}, None),
        ({"metadata": {}, "chunk_metadata": {"document_id": "y"}}, {"document_id": "y"}, None),
        (
            {"metadata": {"file_id": "f", "token_count": 9}, "chunk_metadata": {}},
            {"file_id": "f", "token_count": 9},
            None,
        ),
        ({"embedding": "absent", "embedding_model": None}, {"id": "c1"}, None),
        (
            {"content": [{"type": "text", "text": "a"}, {"type": "image"}, {"type": "text", "text": "b"}]},
            {"content": "a\nb"},
            None,
        ),
        ({"content": {"type": "text", "text": "a"}}, {"content": "a"}, None),
        ({"chunk_id": "a\0b"}, {"id": None}, "it has no chunk_id"),
        ({"metadata": {"document_id": "\0", "file_id": "a\0"}}, {"document_id": None, "file_id": None}, None),
        ({"chunk_metadata": {"content_token_count": 2**70}}, {"token_count": None}, None),
    ],
)
def test_what_can_be_mended(
    tmp_path: Path, vectors: Vectors, changes: dict[str, Any], expected: dict[str, Any], problem: str | None
) -> None:
    path = tmp_path / "byok.db"
    write(path, [stored(0), stored(1, **changes), stored(2)], vectors[:3])
    chunks, found, report = read(path)
    assert found.tolist() == vectors[:3].tolist()
    assert report.read == 3
    assert report.problems == ([f"chunk 1: {problem}"] if problem else [])
    assert report.mended == len(report.problems)
    for name, value in expected.items():
        got = getattr(chunks[1], name)
        assert got == value if value is not None or name != "id" else got not in {None, "", "c0", "c2"}
    store = ChunkStore(tmp_path / "kb", DIMENSION)
    store.insert(chunks, found)
    assert store.count() == 3
    store.close()


@pytest.mark.parametrize(
    ("chunk", "problem"),
    [
        ("{not json", "chunk 1: "),
        ("[]", "chunk 1: it has no text"),
        ("null", "chunk 1: it has no text"),
        (stored(1, content=None), "chunk 1: it has no text"),
        (stored(1, content=[{"type": "image"}]), "chunk 1: it has no text"),
    ],
)
def test_what_cannot_be_mended_is_skipped(tmp_path: Path, vectors: Vectors, chunk: Any, problem: str) -> None:
    path = tmp_path / "byok.db"
    write(path, [stored(0), chunk, stored(2)], vectors[:3])
    chunks, found, report = read(path)
    assert [one.id for one in chunks] == ["c0", "c2"]
    assert found.tolist() == vectors[[0, 2]].tolist()
    assert (report.read, report.skipped) == (2, 1)
    assert report.problems[0].startswith(problem)


def test_chunks_that_are_no_strings_or_have_no_number_are_skipped(tmp_path: Path, vectors: Vectors) -> None:
    texts = {
        "0": json.dumps(stored(0)),
        "1": {"a": ["}", {}]},
        "2": None,
        "3": 7.5,
        "4": [],
        "5" * 5000: json.dumps(stored(5)),
        "6": json.dumps(stored(6)),
    }
    write(tmp_path / "byok.db", [], vectors[:7], chunk_by_index=texts, more=[{"b": "]"}])
    chunks, found, report = read(tmp_path / "byok.db")
    assert [one.id for one in chunks] == ["c0", "c6"]
    assert found.tolist() == vectors[[0, 6]].tolist()
    assert report.problems == [
        *(f"chunk {number}: it is no string" for number in range(1, 5)),
        f"chunk {'5' * 40}: there is no vector for it",
    ]


def test_vectors_that_cannot_be_searched_are_skipped(tmp_path: Path, vectors: Vectors) -> None:
    path = tmp_path / "byok.db"
    bad = vectors[:4].copy()
    bad[1], bad[2, 3] = 0, np.nan
    write(path, [stored(n) for n in range(4)], bad)
    chunks, _, report = read(path)
    assert [one.id for one in chunks] == ["c0", "c3"]
    assert (report.read, report.skipped) == (2, 2)
    assert report.problems[0] == "chunk 1: its vector is all zeros or not finite"


def test_chunks_and_vectors_of_different_number(tmp_path: Path, vectors: Vectors) -> None:
    write(tmp_path / "more.db", [stored(n) for n in range(3)], vectors[:2])
    chunks, _, report = read(tmp_path / "more.db")
    assert ([one.id for one in chunks], report.problems) == (
        ["c0", "c1"],
        ["chunk 2: there is no vector for it"],
    )
    write(tmp_path / "fewer.db", [stored(n) for n in range(2)], vectors[:5])
    chunks, _, report = read(tmp_path / "fewer.db")
    assert ([one.id for one in chunks], report.problems) == (["c0", "c1"], ["3 vectors have no chunk"])


def test_only_the_first_problems_are_listed(tmp_path: Path, vectors: Vectors) -> None:
    write(tmp_path / "byok.db", [stored(n) for n in range(300)], vectors[:1])
    _, _, report = read(tmp_path / "byok.db")
    assert (report.read, report.skipped, len(report.problems)) == (1, 299, 100)


def test_other_forms_of_the_same(tmp_path: Path, vectors: Vectors) -> None:
    texts = {"1": json.dumps(stored(1)), "0": json.dumps(stored(0))}
    index = npy_of(flat(vectors[:2], faiss.IndexFlatIP), version=(2, 0))
    value = json.dumps({"faiss_index": index, "other": "x", "chunk_by_index": texts}, indent=2)
    write_value(tmp_path / "byok.db", value)
    chunks, found, _ = read(tmp_path / "byok.db")
    assert [one.id for one in chunks] == ["c1", "c0"]
    assert found.tolist() == vectors[[1, 0]].tolist()


@pytest.mark.parametrize(
    ("value", "problem"),
    [
        ("", "ends too early"),
        ("[]", "is expected at byte 0"),
        ("{}", "no chunks or no index"),
        ('{"chunk_by_index": {}}', "no chunks or no index"),
        ('{"chunk_by_index": {"0": 7}, "faiss_index": 7}', "is expected at byte 44"),
        ('{"chunk_by_index": {"0": [1}, "faiss_index": ""}', "ends too early"),
        ('{"chunk_by_index": {"0": "a', "does not end"),
        ('{"chunk_by_index": {}, "faiss_index": "abc', "does not end"),
        ('{"chunk_by_index": {}, "faiss_index": "!!!!!!!!!!!!!!!!"}', "cannot be read"),
        ('{"chunk_by_index": {}, "faiss_index": "AAAAAAAAAAAAAAAAAAAA"}', "not a NumPy file"),
        ('{"chunk_by_index": {}, "faiss_index": "%s"}', "is cut off"),
        ('{"chunk_by_index": {}, "faiss_index": "%h"}', "not a flat one"),
    ],
)
def test_a_value_that_cannot_be_read_is_an_error(
    tmp_path: Path, vectors: Vectors, value: str, problem: str
) -> None:
    whole = npy_of(flat(vectors))
    hnsw = npy_of(faiss.IndexHNSWFlat(DIMENSION, 8))
    write_value(tmp_path / "byok.db", value.replace("%s", whole[: len(whole) // 8 * 4]).replace("%h", hnsw))
    with pytest.raises(StorageError, match=problem) as raised:
        read(tmp_path / "byok.db")
    assert raised.value.cause.startswith(f"Vector store vs_1 in {tmp_path}/byok.db cannot be read: ")


def test_a_file_or_store_that_is_not_there(tmp_path: Path, stock_file: Path) -> None:
    with pytest.raises(NotFound, match="Vector store with ID unknown"):
        read(stock_file, "unknown")
    (tmp_path / "text.db").write_text("no database, but long enough to be one, if it were one" * 20)
    with closing(sqlite3.connect(tmp_path / "other.db")) as connection:
        connection.execute("CREATE TABLE t (x)")
    for name in ("absent.db", "text.db", "other.db"):
        with pytest.raises(StorageError, match=f"{name} is not a database of vector stores"):
            stock_stores(tmp_path / name)
        with pytest.raises(StorageError, match=f"{name} is not a database of vector stores"):
            read(tmp_path / name)
    assert not (tmp_path / "absent.db").exists()


def test_a_value_larger_than_a_window_is_read_in_pieces(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("lightspeed.stack.providers.faiss_sqlite.json_stream._WINDOW", 7)
    value = {"a": {"k\\" * n: 'v"' * n for n in range(20)}, "b": "x" * 100}
    write_value(tmp_path / "v.db", json.dumps(value, indent=1))
    with (
        closing(sqlite3.connect(tmp_path / "v.db")) as connection,
        connection.blobopen("kvstore", "value", 1) as blob,
    ):
        stream = JsonStream(blob)
        read: dict[str, Any] = {}
        for key in stream.members():
            if key == b'"a"':
                read["a"] = {json.loads(name): json.loads(stream.string()) for name in stream.members()}
            else:
                start, end = stream.skip_plain_string()
                blob.seek(start)
                read["b"] = blob.read(end - start).decode()
    assert read == value
