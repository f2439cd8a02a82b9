"""The provider without the stack around it, with a real embedding model."""

import shutil
import sqlite3
import time
from collections.abc import AsyncIterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from anyio import to_thread

from lightspeed.errors import NotFound, StartupError, StorageError
from tests.stack.providers.knowledge_provider import (
    MODEL,
    attach,
    count,
    embeddings,
    insert,
    local_files,
    query,
    register,
    search,
    upload,
    vector_io,
)

pytestmark = pytest.mark.anyio

TEXTS: dict[str, dict[str, Any]] = {
    "backup runs each night at two": {"topic": "operations", "level": 1},
    "bananas are ripe in June": {"topic": "fruit", "level": 2},
    "credentials are reset by the administrator ERR42": {"topic": "operations", "level": 3},
}


@pytest.fixture(scope="module")
async def inference() -> AsyncIterator[Any]:
    async with embeddings() as provider:
        yield provider


def ids(found: Any) -> list[str]:
    return [chunk.chunk_id for chunk in found.chunks]


def expire(folder: Path, store: str) -> None:
    with closing(sqlite3.connect(folder / "knowledge" / "catalog.db")) as catalog, catalog:
        catalog.execute(
            "UPDATE stores SET last_active_at = ? WHERE id = ?", (int(time.time()) - 3 * 86_400, store)
        )


async def test_modes_of_search(tmp_path: Path, inference: Any) -> None:
    async with vector_io(tmp_path, inference) as provider:
        await register(provider, "kb")
        await insert(provider, inference, "kb", TEXTS)
        assert ids(await query(provider, "kb", "change my password", mode="vector"))[0] == "credentials"
        assert ids(await query(provider, "kb", "change my password", mode="semantic", k=1)) == ["credentials"]
        for mode in ("keyword", "lexical"):
            assert ids(await query(provider, "kb", "what is err42", mode=mode)) == ["credentials"]
        found = await query(provider, "kb", "ripe fruit", max_chunks=1)
        assert ids(found) == ["bananas"]
        assert ids(await query(provider, "kb", "fruit", score_threshold=0.99)) == []
        rrf = await query(
            provider, "kb", "bananas ripe", reranker_type="rrf", reranker_params={"impact_factor": 10}
        )
        assert (ids(rrf)[0], rrf.scores[0]) == ("bananas", pytest.approx(1))
        keyword_only = await query(
            provider, "kb", "bananas", reranker_type="weighted", reranker_params={"alpha": 0}
        )
        assert keyword_only.scores[1:] == [0, 0]
        assert (await search(provider, "kb", "err42", search_mode="keyword")).data[0].file_id == "doc"


async def test_the_configured_mode_is_used_unless_the_request_names_one(
    tmp_path: Path, inference: Any
) -> None:
    async with vector_io(tmp_path, inference, mode="keyword") as provider:
        await register(provider, "kb")
        await insert(provider, inference, "kb", TEXTS)
        assert ids(await query(provider, "kb", "change my password")) == []
        assert (await search(provider, "kb", "change my password")).data == []
        assert (await search(provider, "kb", "change my password", search_mode="vector")).data


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"mode": "fuzzy"}, "mode of a search is one of vector, semantic, keyword"),
        ({"max_chunks": 0}, "max_chunks is a whole number from 1"),
        ({"max_chunks": "many"}, "max_chunks is a whole number"),
        ({"score_threshold": "high"}, "score_threshold is a number"),
        ({"score_threshold": float("nan")}, "score_threshold is a number, not nan"),
        (
            {"reranker_type": "rrf", "reranker_params": {"impact_factor": float("inf")}},
            "impact_factor is a number, not inf",
        ),
        (
            {"reranker_type": "weighted", "reranker_params": {"weights": [1]}},
            r"weights of a ranker are an object, not \[1\]",
        ),
        ({"filters": {"type": "like", "key": "a", "value": 1}}, "type of a filter is one of eq"),
        ({"filters": ["topic"]}, "filters is an object"),
        ({"reranker_type": "neural"}, "no neural ranker"),
        ({"reranker_type": "magic"}, "rrf or weighted, not 'magic'"),
        ({"reranker_type": "weighted", "reranker_params": {"alpha": 2}}, "alpha lies between 0 and 1"),
        ({"embedding_dimensions": 256}, "384 dimensions, so embedding_dimensions cannot be 256"),
    ],
)
async def test_wrong_parameters_are_named(
    tmp_path: Path, inference: Any, params: dict[str, Any], message: str
) -> None:
    async with vector_io(tmp_path, inference) as provider:
        await register(provider, "kb")
        with pytest.raises(ValueError, match=message):
            await query(provider, "kb", "question", **params)
        with pytest.raises(ValueError, match="query of a search is empty"):
            await query(provider, "kb", "  ")


async def test_filters_may_be_the_stacks_objects(tmp_path: Path, inference: Any) -> None:
    from llama_stack_api import ComparisonFilter, CompoundFilter

    wanted = CompoundFilter(
        type="and",
        filters=[
            ComparisonFilter(type="eq", key="topic", value="operations"),
            ComparisonFilter(type="in", key="level", value=[2, 3]),
        ],
    )
    async with vector_io(tmp_path, inference) as provider:
        await register(provider, "kb")
        await insert(provider, inference, "kb", TEXTS)
        assert ids(await query(provider, "kb", "anything", filters=wanted)) == ["credentials"]
        assert ids(await query(provider, "kb", "anything", filters=wanted.model_dump())) == ["credentials"]


async def test_wrong_chunks_are_refused_together(tmp_path: Path, inference: Any) -> None:
    from llama_stack_api import ChunkMetadata, EmbeddedChunk, InsertChunksRequest

    def chunk(name: str, vector: list[float]) -> EmbeddedChunk:
        return EmbeddedChunk(
            content="text",
            chunk_id=name,
            chunk_metadata=ChunkMetadata(),
            embedding=vector,
            embedding_model=MODEL,
            embedding_dimension=len(vector),
        )

    async with vector_io(tmp_path, inference) as provider:
        await register(provider, "kb")
        for wrong in ([1.0, 2.0], [0.0] * 384, [float("nan")] * 384):
            request = InsertChunksRequest(
                vector_store_id="kb", chunks=[chunk("good", [1.0] * 384), chunk("bad", wrong)]
            )
            with pytest.raises(ValueError, match="chunk 'bad'"):
                await provider.insert_chunks(request)
        assert await count(provider, "kb") == 0
        twice = [chunk("same", [1.0] * 384), chunk("same", [2.0] * 384)]
        await provider.insert_chunks(InsertChunksRequest(vector_store_id="kb", chunks=twice))
        assert await count(provider, "kb") == 1


@pytest.mark.parametrize(
    "store", ["../outside", "/etc", "a" * 5000, "größe 🚀", "UPPER", ".", "catalog.db", "kb"]
)
async def test_ids_cannot_leave_the_folder(tmp_path: Path, inference: Any, store: str) -> None:
    async with vector_io(tmp_path, inference) as provider:
        await register(provider, store)
        await insert(provider, inference, store, TEXTS)
        assert ids(await query(provider, store, "ripe fruit", k=1)) == ["bananas"]
        folder = (await provider.chunk_store(store)).folder
        assert folder.parent == tmp_path / "knowledge"
        assert sorted(path.name for path in folder.parents[1].iterdir()) == ["files", "knowledge"]
        await provider.openai_delete_vector_store(store)
        assert not folder.exists()
    left = {path.name for path in (tmp_path / "knowledge").iterdir()}
    assert {name for name in left if not name.startswith("catalog.db")} == set()


async def test_similar_ids_have_folders_of_their_own(tmp_path: Path, inference: Any) -> None:
    async with vector_io(tmp_path, inference) as provider:
        folders = set()
        for store in ("kb", "KB", "Kb", "k/b", "k b", "kb."):
            await register(provider, store)
            folders.add((await provider.chunk_store(store)).folder)
        assert len(folders) == 6


async def test_registering_again(tmp_path: Path, inference: Any) -> None:
    async with vector_io(tmp_path, inference) as provider:
        await register(provider, "kb")
        await register(provider, "kb", model="another-model")
        await register(provider, "kb")
        await insert(provider, inference, "kb", TEXTS)
        await register(provider, "kb")
        assert await count(provider, "kb") == 3
        with pytest.raises(StartupError, match="holds vectors of 384 dimensions, not 768"):
            await register(provider, "kb", dimension=768)
        with pytest.raises(StartupError, match="was filled with the embedding model all-MiniLM-L6-v2"):
            await register(provider, "kb", model="another-model")
        await provider.unregister_vector_store("kb")
        assert await count(provider, "kb") == 3


async def test_unknown_stores(tmp_path: Path, inference: Any) -> None:
    from llama_stack_api import OpenAIUpdateVectorStoreRequest, VectorStoreNotFoundError

    async with vector_io(tmp_path, inference) as provider:
        calls = [
            provider.openai_retrieve_vector_store("kb"),
            provider.openai_update_vector_store("kb", OpenAIUpdateVectorStoreRequest(name="x")),
            provider.openai_delete_vector_store("kb"),
            provider.openai_list_files_in_vector_store("kb"),
            provider.openai_retrieve_vector_store_file("kb", "file"),
            provider.openai_delete_vector_store_file("kb", "file"),
            provider.openai_retrieve_vector_store_file_contents("kb", "file"),
            query(provider, "kb", "question"),
            insert(provider, inference, "kb", TEXTS),
            search(provider, "kb", "question"),
            attach(provider, "kb", "file"),
        ]
        for call in calls:
            with pytest.raises(VectorStoreNotFoundError, match="kb"):
                await call
        with pytest.raises(NotFound, match="Vector store with ID kb"):
            await provider.chunk_store("kb")
        await register(provider, "kb")
        with pytest.raises(ValueError, match="File file-1 not found in vector store kb"):
            await provider.openai_retrieve_vector_store_file("kb", "file-1")


async def test_lists_in_parts(tmp_path: Path, inference: Any) -> None:
    async with vector_io(tmp_path, inference) as provider:
        for number in range(7):
            await register(provider, f"kb{number}")

        async def listed(**window: Any) -> tuple[list[str], bool]:
            page = await provider.openai_list_vector_stores(**window)
            names = [store.id for store in page.data]
            assert (page.first_id, page.last_id) == ((names[0], names[-1]) if names else (None, None))
            return names, page.has_more

        assert await listed() == ([f"kb{number}" for number in range(6, -1, -1)], False)
        assert await listed(limit=3) == (["kb6", "kb5", "kb4"], True)
        assert await listed(limit=3, after="kb4") == (["kb3", "kb2", "kb1"], True)
        assert await listed(limit=3, after="kb1") == (["kb0"], False)
        assert await listed(limit=2, before="kb1") == (["kb3", "kb2"], True)
        assert await listed(limit=3, order="asc", after="kb4") == (["kb5", "kb6"], False)
        assert await listed(limit=3, order="asc", before="kb2") == (["kb0", "kb1"], False)
        assert await listed(after="kb5", before="kb2") == (["kb4", "kb3"], False)
        for wrong, message in (
            ({"limit": 0}, "limit of a list is at least 1"),
            ({"order": "up"}, "order of a list is asc or desc"),
            ({"after": "nobody"}, "does not hold 'nobody'"),
        ):
            with pytest.raises(ValueError, match=message):
                await listed(**wrong)


async def test_an_expired_store(tmp_path: Path, inference: Any) -> None:
    from llama_stack_api import OpenAIUpdateVectorStoreRequest

    after_two_days = OpenAIUpdateVectorStoreRequest(expires_after={"anchor": "last_active_at", "days": 2})
    async with vector_io(tmp_path, inference) as provider:
        await register(provider, "kb")
        await insert(provider, inference, "kb", TEXTS)
        await provider.openai_update_vector_store("kb", after_two_days)
        expire(tmp_path, "kb")
        assert (await provider.openai_retrieve_vector_store("kb")).status == "expired"
        await provider.openai_update_vector_store("kb", OpenAIUpdateVectorStoreRequest(name="Old"))
        for call in (
            query(provider, "kb", "fruit"),
            search(provider, "kb", "fruit"),
            attach(provider, "kb", "file-1"),
            insert(provider, inference, "kb", TEXTS),
        ):
            with pytest.raises(ValueError, match="kb has expired"):
                await call
        renewed = await provider.openai_update_vector_store("kb", after_two_days)
        assert renewed.status == "completed"
        assert ids(await query(provider, "kb", "ripe fruit", k=1)) == ["bananas"]


async def test_use_moves_the_expiry(tmp_path: Path, inference: Any) -> None:
    async with vector_io(tmp_path, inference) as provider:
        await register(provider, "kb")
        expire(tmp_path, "kb")
        await query(provider, "kb", "fruit")
        used = (await provider.openai_retrieve_vector_store("kb")).last_active_at
        assert used > time.time() - 60
        expire(tmp_path, "kb")
        await provider.touch("kb")
        assert (await provider.openai_retrieve_vector_store("kb")).last_active_at < used


async def test_a_read_only_provider_refuses_changes(tmp_path: Path, inference: Any) -> None:
    from llama_stack_api import (
        ChunkForDeletion,
        DeleteChunksRequest,
        OpenAICreateVectorStoreFileBatchRequestWithExtraBody,
        OpenAICreateVectorStoreRequestWithExtraBody,
        OpenAIUpdateVectorStoreFileRequest,
        OpenAIUpdateVectorStoreRequest,
    )

    async with vector_io(tmp_path, inference) as provider:
        assert not provider.is_read_only
        await register(provider, "kb")
        await insert(provider, inference, "kb", TEXTS)
    async with vector_io(tmp_path, inference, read_only=True) as provider:
        assert provider.is_read_only
        await register(provider, "kb")
        params = OpenAICreateVectorStoreRequestWithExtraBody(
            embedding_model=MODEL, embedding_dimension=384, provider_vector_store_id="new"
        )
        batch = OpenAICreateVectorStoreFileBatchRequestWithExtraBody(file_ids=["f"])
        deletion = DeleteChunksRequest(
            vector_store_id="kb", chunks=[ChunkForDeletion(chunk_id="bananas", document_id="doc")]
        )
        for call in (
            insert(provider, inference, "kb", TEXTS),
            provider.delete_chunks(deletion),
            provider.openai_create_vector_store(params),
            provider.openai_update_vector_store("kb", OpenAIUpdateVectorStoreRequest(name="x")),
            provider.openai_delete_vector_store("kb"),
            attach(provider, "kb", "f"),
            provider.openai_update_vector_store_file(
                "kb", "f", OpenAIUpdateVectorStoreFileRequest(attributes={})
            ),
            provider.openai_delete_vector_store_file("kb", "f"),
            provider.openai_create_vector_store_file_batch("kb", batch),
            provider.openai_cancel_vector_store_file_batch("b", "kb"),
        ):
            with pytest.raises(ValueError, match="is configured as read-only"):
                await call
        assert len(ids(await query(provider, "kb", "fruit", k=9))) == 3
        assert [store.id for store in (await provider.openai_list_vector_stores()).data] == ["kb"]


async def test_a_store_that_is_deleted_during_a_search_is_not_there(
    tmp_path: Path, inference: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    from llama_stack_api import VectorStoreNotFoundError

    async with vector_io(tmp_path, inference) as provider:
        await register(provider, "kb")
        await insert(provider, inference, "kb", TEXTS)
        opened = provider.chunk_store

        async def deleted_meanwhile(store: str) -> Any:
            found = await opened(store)
            await provider.openai_delete_vector_store(store)
            return found

        monkeypatch.setattr(provider, "chunk_store", deleted_meanwhile)
        with pytest.raises(VectorStoreNotFoundError):
            await query(provider, "kb", "bananas")


async def test_a_store_that_is_deleted_while_a_file_is_removed_is_not_there(
    tmp_path: Path, inference: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    from llama_stack_api import VectorStoreNotFoundError

    files = await local_files(tmp_path)
    async with vector_io(tmp_path, inference) as provider:
        await register(provider, "kb")
        file_id = await upload(files, "note.md", b"bananas are ripe in June")
        await attach(provider, "kb", file_id)
        stores = provider._opened
        opened = stores.open

        def deleted_meanwhile(store: str) -> Any:
            found = opened(store)
            stores.destroy(store)
            return found

        monkeypatch.setattr(stores, "open", deleted_meanwhile)
        with pytest.raises(VectorStoreNotFoundError):
            await provider.openai_delete_vector_store_file("kb", file_id)


@pytest.mark.parametrize("folder", ["kb", ".kb.0badcafe.destroyed"])
async def test_a_deletion_that_was_cut_off_is_completed(tmp_path: Path, inference: Any, folder: str) -> None:
    async with vector_io(tmp_path, inference) as provider:
        await register(provider, "kb")
        await insert(provider, inference, "kb", TEXTS)
        file_id = await upload(await local_files(tmp_path), "a.txt", "A text.")
        await attach(provider, "kb", file_id)
    with closing(sqlite3.connect(tmp_path / "knowledge" / "catalog.db")) as catalog, catalog:
        catalog.execute("UPDATE stores SET deleting = 1")
    (tmp_path / "knowledge" / "kb").rename(tmp_path / "knowledge" / folder)
    async with vector_io(tmp_path, inference) as provider:
        assert (await provider.openai_list_vector_stores()).data == []
        assert not (tmp_path / "knowledge" / "kb").exists()
        assert not list((tmp_path / "knowledge").glob("*.destroyed"))
        await register(provider, "kb")
        made = await provider.openai_retrieve_vector_store("kb")
        assert (made.file_counts.total, await count(provider, "kb")) == (0, 0)


async def health(provider: Any) -> tuple[str, str]:
    found = await provider.health()
    return str(found["status"].value), found.get("message") or ""


@pytest.mark.parametrize("emptied", [True, False])
async def test_a_lost_catalog_is_told(
    tmp_path: Path, inference: Any, emptied: bool, caplog: pytest.LogCaptureFixture
) -> None:
    async with vector_io(tmp_path, inference) as provider:
        await register(provider, "kb")
        await insert(provider, inference, "kb", TEXTS)
        assert await health(provider) == ("OK", "")
    catalog = tmp_path / "knowledge" / "catalog.db"
    if emptied:
        catalog.write_bytes(b"")
    else:
        catalog.unlink()
    async with vector_io(tmp_path, inference) as provider:
        status, message = await health(provider)
        assert status == "Error"
        assert message.startswith("catalog.db was missing or empty beside 1 vector stores")
        assert message in caplog.text
        await register(provider, "kb")
        assert await count(provider, "kb") == len(TEXTS)
    async with vector_io(tmp_path, inference) as provider:
        assert await health(provider) == ("OK", "")


async def test_a_store_that_cannot_be_read_is_named(tmp_path: Path, inference: Any) -> None:
    async with vector_io(tmp_path, inference) as provider:
        for store in ("kb", "other"):
            await register(provider, store)
            await insert(provider, inference, store, TEXTS)
    database = tmp_path / "knowledge" / "kb" / "chunks.db"
    content = database.read_bytes()
    database.write_bytes(b"no database" * 1000)
    async with vector_io(tmp_path, inference) as provider:
        await provider.prepare("other")
        assert await health(provider) == ("OK", "")
        with pytest.raises(StorageError):
            await provider.prepare("kb")
        assert await health(provider) == ("Error", "Knowledge store kb: file is not a database")
        database.write_bytes(content)
        assert await health(provider) == ("OK", "")
        assert await count(provider, "kb") == len(TEXTS)


async def test_an_emptied_store_does_not_become_an_empty_one(tmp_path: Path, inference: Any) -> None:
    files = await local_files(tmp_path)
    async with vector_io(tmp_path, inference) as provider:
        await register(provider, "kb")
        await register(provider, "unused")
        await provider.prepare("unused")
        await attach(provider, "kb", await upload(files, "notes.txt", "The backup runs each night."))
    folder = tmp_path / "knowledge" / "kb"
    for store in (folder, folder.with_name("unused")):
        (store / "chunks.db").write_bytes(b"")
    async with vector_io(tmp_path, inference) as provider:
        await provider.prepare("unused")
        with pytest.raises(StorageError, match=r"kb was filled, but its chunks\.db is missing or empty"):
            await search(provider, "kb", "backup")
        assert (folder / "chunks.db").stat().st_size == 0
        assert (await health(provider))[0] == "Error"
        await to_thread.run_sync(shutil.rmtree, folder)
        assert await count(provider, "kb") == 0
        assert await health(provider) == ("OK", "")
