"""Databases that the stack's own `inline::faiss` has written, behind our provider."""

import asyncio
import json
import shutil
import sqlite3
from collections.abc import AsyncIterator, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from lightspeed.errors import StartupError, StorageError
from tests.embedded import embedded_stack
from tests.stack.providers.knowledge_provider import (
    MODEL,
    attach,
    count,
    embeddings,
    insert,
    local_files,
    query,
    register,
    run_configuration,
    search,
    upload,
    vector_io,
    with_stores,
)

pytestmark = pytest.mark.anyio

STORE = "vs_handbook"
TEXT = "To restore, stop the service and copy the snapshot back."


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """A database with one attached file, and the file's id; six chunks are inserted, four of them damaged since."""
    folder = tmp_path_factory.mktemp("stock")
    file_id = asyncio.run(write(folder))
    damage(folder / "stack" / "knowledge.db")
    return folder / "stack" / "knowledge.db", file_id


async def write(folder: Path) -> str:
    from llama_stack_api import (
        Api,
        ChunkMetadata,
        EmbeddedChunk,
        InsertChunksRequest,
        OpenAIAttachFileRequest,
        OpenAIUpdateVectorStoreRequest,
    )

    configuration = with_stores(run_configuration(folder), STORE)
    configuration["providers"]["vector_io"] = [
        {
            "provider_id": "faiss",
            "provider_type": "inline::faiss",
            "config": {"persistence": {"backend": "kv_knowledge", "namespace": "vector_io::faiss"}},
        }
    ]
    async with embedded_stack(configuration) as stack:
        router = stack.client.impls[Api.vector_io]
        file_id = await upload(stack.client.impls[Api.files], "restore.txt", TEXT)
        attached = await router.openai_attach_file_to_vector_store(
            STORE, OpenAIAttachFileRequest(file_id=file_id, attributes={"product": "blue"})
        )
        assert attached.status == "completed"
        failed = await upload(stack.client.impls[Api.files], "picture.png", b"\x89PNG")
        await router.openai_attach_file_to_vector_store(STORE, OpenAIAttachFileRequest(file_id=failed))
        chunks = [
            EmbeddedChunk(
                content=f"text number {number}",
                chunk_id=f"chunk-{number}",
                metadata={"document_id": f"doc-{number}", "title": f"Title {number}"},
                chunk_metadata=ChunkMetadata(chunk_id=f"chunk-{number}"),
                embedding=(
                    await stack.knowledge.question(f"text number {number}").vector(f"onnx/{MODEL}")
                ).tolist(),
                embedding_model=f"onnx/{MODEL}",
                embedding_dimension=384,
            )
            for number in range(6)
        ]
        await router.insert_chunks(InsertChunksRequest(vector_store_id=STORE, chunks=chunks))
        await router.openai_update_vector_store(STORE, OpenAIUpdateVectorStoreRequest(name="Handbook"))
    return file_id


def damage(database: Path) -> None:
    """What stops the stock provider at its start, or makes it lose a search."""
    with closing(sqlite3.connect(database)) as connection, connection:
        key = f"faiss_index:v3::{STORE}"
        (value,) = connection.execute("SELECT value FROM kvstore WHERE key = ?", (key,)).fetchone()
        index = json.loads(value)
        rows = {json.loads(text)["chunk_id"]: row for row, text in index["chunk_by_index"].items()}

        def change(name: str, **values: Any) -> None:
            chunk = json.loads(index["chunk_by_index"][rows[name]])
            index["chunk_by_index"][rows[name]] = json.dumps(chunk | values)

        change("chunk-0", chunk_metadata=None)
        change("chunk-1", metadata={"tags": ["a", "b"], "nothing": None, "document_id": "doc-1"})
        change("chunk-2", content=None)
        index["chunk_by_index"][rows["chunk-3"]] = "{ this is no JSON"
        connection.execute("UPDATE kvstore SET value = ? WHERE key = ?", (json.dumps(index), key))


@pytest.fixture
def database(tmp_path: Path, original: tuple[Path, str]) -> Path:
    copy = tmp_path / "byok" / "faiss_store.db"
    copy.parent.mkdir()
    shutil.copy(original[0], copy)
    return copy


@pytest.fixture
def unwritable(database: Path) -> Iterator[Path]:
    database.chmod(0o444)
    database.parent.chmod(0o555)
    yield database
    database.parent.chmod(0o755)


@pytest.fixture(scope="module")
async def inference() -> AsyncIterator[Any]:
    async with embeddings() as provider:
        yield provider


@pytest.fixture(autouse=True)
def look_again_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("lightspeed.stack.providers.faiss_sqlite.opened_stores._LOOK_AGAIN_AFTER", 0.0)
    monkeypatch.setattr(
        "lightspeed.stack.providers.faiss_sqlite.opened_stores._LOOK_AGAIN_AFTER_FAILURE", 0.0
    )


def state(database: Path) -> tuple[bytes, int, list[str]]:
    names = [path.name for path in database.parent.iterdir()]
    return database.read_bytes(), database.stat().st_mtime_ns, names


def cut(database: Path) -> bytes:
    """Half of the database stays; returns what it was."""
    intact = database.read_bytes()
    database.write_bytes(intact[: len(intact) // 2])
    return intact


def restore(database: Path, intact: bytes) -> None:
    database.write_bytes(intact)


def without(database: Path, text: str) -> None:
    """The database as if it were made anew, with fewer chunks."""
    with closing(sqlite3.connect(database)) as connection, connection:
        key = f"faiss_index:v3::{STORE}"
        (value,) = connection.execute("SELECT value FROM kvstore WHERE key = ?", (key,)).fetchone()
        index = json.loads(value)
        index["chunk_by_index"] = {
            row: chunk for row, chunk in index["chunk_by_index"].items() if text not in chunk
        }
        connection.execute("UPDATE kvstore SET value = ? WHERE key = ?", (json.dumps(index), key))


async def test_a_read_only_database_is_searched(
    tmp_path: Path,
    unwritable: Path,
    original: tuple[Path, str],
    inference: Any,
    caplog: pytest.LogCaptureFixture,
) -> None:
    _, file_id = original
    before = state(unwritable)
    async with vector_io(tmp_path, inference, import_from=str(unwritable), read_only=True) as provider:
        await register(provider, STORE)
        assert not (tmp_path / "knowledge" / STORE).exists()
        found = await query(provider, STORE, TEXT, k=10, mode="vector")
        assert (found.chunks[0].content, found.scores[0]) == (TEXT, pytest.approx(1, abs=1e-3))
        assert {chunk.content for chunk in found.chunks[1:]} == {f"text number {n}" for n in (0, 1, 4, 5)}
        (tagged,) = [chunk for chunk in found.chunks if chunk.chunk_id == "chunk-1"]
        assert tagged.metadata == {"tags": '["a", "b"]', "document_id": "doc-1"}
        assert len((await search(provider, STORE, "number 4", search_mode="keyword")).data) > 0

        warnings = [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]
        (told,) = [warning for warning in warnings if STORE in warning]
        assert "5 chunks taken over" in told
        assert "2 skipped" in told
        assert "it has no chunk_metadata" in told

        store = await provider.openai_retrieve_vector_store(STORE)
        assert (store.name, store.status) == ("Handbook", "completed")
        assert (store.file_counts.completed, store.file_counts.failed) == (1, 1)
        assert store.metadata["embedding_model"] == MODEL
        (good,) = (await provider.openai_list_files_in_vector_store(STORE, filter="completed")).data
        assert (good.id, good.attributes) == (file_id, {"product": "blue"})
        (bad,) = (await provider.openai_list_files_in_vector_store(STORE, filter="failed")).data
        assert bad.last_error is not None
        contents = await provider.openai_retrieve_vector_store_file_contents(STORE, file_id)
        assert [item.text for item in contents.data] == [TEXT]
        (hit,) = (await search(provider, STORE, TEXT, max_num_results=1)).data
        assert (hit.file_id, hit.filename) == (file_id, "restore.txt")
        for change in (
            provider.openai_delete_vector_store(STORE),
            insert(provider, inference, STORE, {"new text": {}}),
        ):
            with pytest.raises(ValueError, match="read-only"):
                await change
    assert state(unwritable) == before


async def test_a_database_is_converted_once_and_when_it_has_changed(
    tmp_path: Path, database: Path, inference: Any, caplog: pytest.LogCaptureFixture
) -> None:
    def conversions() -> int:
        return sum("taken over from" in record.getMessage() for record in caplog.records)

    for _ in range(2):
        async with vector_io(tmp_path, inference, import_from=str(database), read_only=True) as provider:
            await register(provider, STORE)
            assert await count(provider, STORE) == 5
            assert await count(provider, STORE) == 5
    assert conversions() == 1
    async with vector_io(tmp_path, inference, import_from=str(database), read_only=True) as provider:
        await register(provider, STORE)
        assert await count(provider, STORE) == 5
        without(database, "text number 4")
        assert await count(provider, STORE) == 4
        assert "text number 4" not in [
            chunk.content for chunk in (await query(provider, STORE, "number 4", k=10)).chunks
        ]
        assert conversions() == 2
        # A database that is being copied is not one yet: what there is is served.
        intact = cut(database)
        assert await count(provider, STORE) == 4
        restore(database, intact)
        assert await count(provider, STORE) == 4
        assert conversions() == 3
    folders = [path for path in (tmp_path / "knowledge").iterdir() if path.is_dir()]
    assert len(folders) == 1


async def test_two_providers_convert_a_store_once(
    tmp_path: Path, database: Path, inference: Any, caplog: pytest.LogCaptureFixture
) -> None:
    settings = {"import_from": str(database), "read_only": True}
    async with (
        vector_io(tmp_path, inference, **settings) as one,
        vector_io(tmp_path, inference, **settings) as two,
    ):
        await asyncio.gather(register(one, STORE), register(two, STORE))
        assert await asyncio.gather(count(one, STORE), count(two, STORE)) == [5, 5]
        assert sum("taken over from" in record.getMessage() for record in caplog.records) == 1
        without(database, "text number 4")
        assert await count(one, STORE) == 4
        assert len((await query(two, STORE, "text number", k=10)).chunks) == 4


async def test_a_cache_that_was_removed_is_made_anew(tmp_path: Path, database: Path, inference: Any) -> None:
    async with vector_io(tmp_path, inference, import_from=str(database), read_only=True) as provider:
        await register(provider, STORE)
        folder = (await provider.chunk_store(STORE)).folder
        shutil.rmtree(folder)
        assert len((await query(provider, STORE, "text number", k=10)).chunks) == 5
        assert (await provider.chunk_store(STORE)).folder != folder


@pytest.mark.parametrize("content", [b"", b"no database" * 1000])
async def test_a_damaged_copy_is_made_anew(
    tmp_path: Path, database: Path, inference: Any, content: bytes
) -> None:
    settings = {"import_from": str(database), "read_only": True}
    async with vector_io(tmp_path, inference, **settings) as provider:
        await register(provider, STORE)
        folder = (await provider.chunk_store(STORE)).folder
    (folder / "chunks.db").write_bytes(content)
    async with vector_io(tmp_path, inference, **settings) as provider:
        await register(provider, STORE)
        assert len((await query(provider, STORE, "text number", k=10)).chunks) == 5
    folders = [path for path in (tmp_path / "knowledge").iterdir() if path.is_dir()]
    assert len(folders) == 1
    assert folder not in folders


async def test_a_damaged_store_that_is_no_copy_is_left_for_the_operator(
    tmp_path: Path, database: Path, inference: Any
) -> None:
    async with vector_io(tmp_path, inference, import_from=str(database)) as provider:
        await register(provider, STORE)
        folder = (await provider.chunk_store(STORE)).folder
    (folder / "chunks.db").write_bytes(b"no database" * 1000)
    async with vector_io(tmp_path, inference, import_from=str(database)) as provider:
        await register(provider, STORE)
        with pytest.raises(StorageError, match="not a database"):
            await query(provider, STORE, "text number", k=10)
    assert (folder / "chunks.db").read_bytes() == b"no database" * 1000


async def test_damaged_records_do_not_hide_the_others(
    tmp_path: Path, original: tuple[Path, str], database: Path, inference: Any
) -> None:
    file_id = original[1]
    damage_records(database, file_id)
    async with vector_io(tmp_path, inference, import_from=str(database)) as provider:
        await register(provider, STORE)
        store = await provider.openai_retrieve_vector_store(STORE)
        assert (store.name, store.expires_after) == (None, None)
        listed = await provider.openai_list_files_in_vector_store(STORE)
        assert {file.id for file in listed.data} == {file_id, "file-odd"}
        assert {file.id: file.status for file in listed.data}[file_id] == "completed"
        (odd,) = (file for file in listed.data if file.id == "file-odd")
        assert (odd.status, odd.last_error.code, odd.chunking_strategy.type) == (
            "failed",
            "server_error",
            "auto",
        )
        assert await count(provider, STORE) == 5
        again = await upload(await local_files(tmp_path), "more.md", "# More\n\nAnother text.")
        assert (await attach(provider, STORE, again)).status == "completed"


def damage_records(database: Path, file_id: str) -> None:
    """Values that no database column, no UTF-8 text and none of the stack's objects can hold."""
    store = {
        "name": "a\0b",
        "created_at": 2**70,
        "chunking_strategy": {"type": "semantic"},
        "expires_after": {"days": -(2**70)},
    }
    odd = {
        "id": "file-odd",
        "status": "failed",
        "created_at": 2**70,
        "usage_bytes": "many",
        "last_error": {"code": 7, "message": None},
        "chunking_strategy": {"type": "static"},
    }
    records: dict[str, Any] = {
        f"openai_vector_stores:v3::{STORE}": json.dumps(store),
        f"openai_vector_stores_files:v3::{STORE}:file-odd": json.dumps(odd),
        f"openai_vector_stores_files:v3::{STORE}:file-none": None,
        f"openai_vector_stores_files:v3::{STORE}:file-number": 7,
    }
    with closing(sqlite3.connect(database)) as connection, connection:
        connection.execute(
            "DELETE FROM kvstore WHERE key LIKE 'openai_vector_stores_files:%' AND key NOT LIKE ?",
            (f"%{file_id}",),
        )
        connection.executemany("INSERT OR REPLACE INTO kvstore (key, value) VALUES (?, ?)", records.items())
        connection.execute(
            "INSERT INTO kvstore (key, value) VALUES (?, CAST(? AS TEXT))",
            ("vector_stores:v3::broken", b'{"vector_store_name": "\xff"}'),
        )
        connection.execute("INSERT INTO kvstore (key, value) VALUES ('faiss_index:v3::broken', '{}')")


async def test_a_conversion_that_fails_names_the_database_and_leaves_nothing(
    tmp_path: Path, database: Path, inference: Any, caplog: pytest.LogCaptureFixture
) -> None:
    async with vector_io(tmp_path, inference, import_from=str(database), read_only=True) as provider:
        await register(provider, STORE)
        with closing(sqlite3.connect(database)) as connection, connection:
            connection.execute(
                "UPDATE kvstore SET value = substr(value, 1, length(value) - 40) || '!' || substr(value, -39) "
                "WHERE key LIKE 'faiss_index:%'"
            )
        with pytest.raises(
            StorageError, match=f"{database} cannot be copied: Vector store {STORE} in .*base64"
        ):
            await query(provider, STORE, "text number")
    assert not [path for path in (tmp_path / "knowledge").iterdir() if path.is_dir()]
    assert "damaged" not in caplog.text


async def test_a_killed_conversion_is_made_anew(tmp_path: Path, database: Path, inference: Any) -> None:
    left = tmp_path / "knowledge" / f".{STORE}.0123.importing"
    left.mkdir(parents=True)
    (left / "chunks.db").write_bytes(b"half")
    async with vector_io(tmp_path, inference, import_from=str(database), read_only=True) as provider:
        await register(provider, STORE)
        assert await count(provider, STORE) == 5
    assert not left.exists()


async def test_a_writable_store_is_taken_over_once(tmp_path: Path, database: Path, inference: Any) -> None:
    async with vector_io(tmp_path, inference, import_from=str(database)) as provider:
        await register(provider, STORE)
        await register(provider, "of-our-own")
        await insert(provider, inference, STORE, {"new text": {}})
        assert (await count(provider, STORE), await count(provider, "of-our-own")) == (6, 0)
        without(database, "text number 4")
        assert await count(provider, STORE) == 6
    async with vector_io(tmp_path, inference, import_from=str(database)) as provider:
        await register(provider, STORE)
        assert await count(provider, STORE) == 6
        assert (await provider.openai_retrieve_vector_store(STORE)).name == "Handbook"
        await provider.openai_delete_vector_store(STORE)
        await register(provider, STORE)
        assert await count(provider, STORE) == 4


@pytest.mark.parametrize("exists", [False, True])
async def test_there_may_be_nothing_to_take_over(tmp_path: Path, inference: Any, exists: bool) -> None:
    database = tmp_path / "knowledge.db"
    if exists:
        restore(database, b"")
    async with vector_io(tmp_path, inference, import_from=str(database)) as provider:
        await register(provider, STORE)
        await insert(provider, inference, STORE, {"new text": {}})
        assert (await provider.openai_retrieve_vector_store(STORE)).status == "completed"
        assert await count(provider, STORE) == 1


async def test_what_does_not_fit_is_named_at_registration(
    tmp_path: Path, database: Path, inference: Any
) -> None:
    settings = {"import_from": str(database), "read_only": True}
    async with vector_io(tmp_path, inference, **settings) as provider:
        with pytest.raises(StartupError, match=f"holds no vector store vs_wrong; it holds: {STORE}$"):
            await register(provider, "vs_wrong")
        with pytest.raises(StartupError, match="vectors of 384 dimensions, not 768"):
            await register(provider, STORE, dimension=768)
        assert (await provider.openai_list_vector_stores()).data == []
    missing = tmp_path / "nowhere.db"
    async with vector_io(tmp_path, inference, import_from=str(missing), read_only=True) as provider:
        with pytest.raises(StartupError, match=r"nowhere\.db does not exist"):
            await register(provider, STORE)


async def test_a_wrong_store_stops_the_stack_with_one_line(tmp_path: Path, database: Path) -> None:
    configuration = with_stores(
        run_configuration(tmp_path, import_from=str(database), read_only=True), "vs_wrong"
    )
    with pytest.raises(StartupError, match=f"holds no vector store vs_wrong; it holds: {STORE}$"):
        async with embedded_stack(configuration):
            pass
