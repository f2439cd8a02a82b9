"""The provider behind the stack's own router and client."""

from collections.abc import AsyncIterator
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest

from lightspeed.errors import ConfigurationError, StartupError
from tests.embedded import embedded_stack
from tests.scripted_model import Reply, ScriptedModel
from tests.stack.providers.knowledge_provider import (
    MODEL,
    attach,
    query,
    run_configuration,
    search,
    upload,
    with_stores,
)

pytestmark = pytest.mark.anyio

HANDBOOK = """# Handbook

## Backup

The backup runs each night at two.

## Restore

To restore, stop the service and copy the snapshot back.
"""


@pytest.fixture(scope="module")
async def running(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[tuple[Any, ScriptedModel]]:
    with ScriptedModel(default=Reply("This chunk is about operating the service.")) as model:
        scripted = {
            "provider_id": "scripted",
            "provider_type": "remote::openai",
            "config": {"api_key": "sk-scripted-key", "base_url": model.base_url},
        }
        folder = tmp_path_factory.mktemp("stack")
        configuration = with_stores(run_configuration(folder, inference=[scripted]), "docs")
        async with embedded_stack(configuration) as stack:
            yield stack, model


@pytest.fixture
def stack(running: tuple[Any, ScriptedModel]) -> Any:
    return running[0]


@pytest.fixture
def model(running: tuple[Any, ScriptedModel]) -> ScriptedModel:
    return running[1]


@pytest.fixture
def router(stack: Any) -> Any:
    from llama_stack_api import Api

    return stack.client.impls[Api.vector_io]


@pytest.fixture
def files(stack: Any) -> Any:
    from llama_stack_api import Api

    return stack.client.impls[Api.files]


async def create(router: Any, **params: Any) -> Any:
    from llama_stack_api import OpenAICreateVectorStoreRequestWithExtraBody

    return await router.openai_create_vector_store(
        OpenAICreateVectorStoreRequestWithExtraBody.model_validate(
            {"embedding_model": f"onnx/{MODEL}", **params}
        )
    )


def named_file(name: str, content: bytes) -> BytesIO:
    file = BytesIO(content)
    file.name = name
    return file


async def test_the_life_of_a_store(router: Any) -> None:
    from llama_stack_api import OpenAIUpdateVectorStoreRequest

    made = await create(router, name="Made", metadata={"team": "blue"})
    assert (made.name, made.status, made.file_counts.total) == ("Made", "completed", 0)
    assert made.metadata == {
        "team": "blue",
        "provider_id": "faiss",
        "provider_vector_store_id": made.id,
        "embedding_model": f"onnx/{MODEL}",
        "embedding_dimension": "384",
    }
    assert {store.id for store in (await router.openai_list_vector_stores()).data} >= {"docs", made.id}

    changed = await router.openai_update_vector_store(
        made.id,
        OpenAIUpdateVectorStoreRequest(
            name="Renamed", metadata={"team": "red"}, expires_after={"anchor": "last_active_at", "days": 2}
        ),
    )
    assert (changed.name, changed.metadata["team"]) == ("Renamed", "red")
    assert changed.metadata["embedding_model"] == f"onnx/{MODEL}"
    assert changed.expires_at == changed.last_active_at + 2 * 86_400
    assert await router.openai_retrieve_vector_store(made.id) == changed

    assert (await router.openai_delete_vector_store(made.id)).deleted
    assert made.id not in {store.id for store in (await router.openai_list_vector_stores()).data}
    with pytest.raises(ValueError, match="not found"):
        await router.openai_retrieve_vector_store(made.id)


async def test_a_store_that_cannot_be_made_is_not_left_behind(router: Any) -> None:
    before = {store.id for store in (await router.openai_list_vector_stores(limit=100)).data}
    with pytest.raises(ValueError, match="days of expires_after"):
        await create(router, name="Wrong", expires_after={"anchor": "last_active_at", "days": 0})
    with pytest.raises(ValueError, match="metadata of a vector store cannot be kept"):
        await create(router, name="Wrong", metadata={"half": "\ud800"})
    with pytest.raises(ValueError, match="embedding dimension is a number from 1 to 65536"):
        await create(router, name="Wrong", embedding_dimension=2**70)
    assert {store.id for store in (await router.openai_list_vector_stores(limit=100)).data} == before


async def test_chunks_go_in_and_out(router: Any, stack: Any) -> None:
    from llama_stack_api import (
        Api,
        ChunkForDeletion,
        ChunkMetadata,
        DeleteChunksRequest,
        EmbeddedChunk,
        InsertChunksRequest,
    )

    texts = ["The backup runs each night.", "Bananas are ripe in June.", "A password has ten letters."]
    vectors = [(await stack.knowledge.question(text).vector(f"onnx/{MODEL}")).tolist() for text in texts]
    chunks = [
        EmbeddedChunk(
            content=text,
            chunk_id=f"chunk-{place}",
            metadata={"document_id": f"doc-{place}", "nothing": None, "nested": {"a": [1]}},
            chunk_metadata=ChunkMetadata(document_id=f"doc-{place}", content_token_count=6),
            embedding=vector,
            embedding_model=f"onnx/{MODEL}",
            embedding_dimension=384,
        )
        for place, (text, vector) in enumerate(zip(texts, vectors, strict=True))
    ]
    store = await create(router, name="Chunks")
    await router.insert_chunks(InsertChunksRequest(vector_store_id=store.id, chunks=chunks))

    found = await query(router, store.id, "When is data saved?", mode="vector", max_chunks=2)
    best = found.chunks[0]
    assert (best.chunk_id, best.content, len(found.chunks)) == ("chunk-0", texts[0], 2)
    assert best.metadata == {"document_id": "doc-0", "nested": '{"a": [1]}'}
    assert (best.chunk_metadata.document_id, best.chunk_metadata.content_token_count) == ("doc-0", 6)
    assert best.embedding == pytest.approx(vectors[0])
    assert 1 >= found.scores[0] > found.scores[1] >= 0
    (exact,) = (await query(router, store.id, texts[2], mode="vector", k=1)).scores
    assert exact == pytest.approx(1, abs=1e-3)
    filtered = await query(
        router, store.id, "password", filters={"type": "eq", "key": "document_id", "value": "doc-1"}
    )
    assert [chunk.chunk_id for chunk in filtered.chunks] == ["chunk-1"]

    table = router.routing_table
    provider = await table.get_provider_impl(store.id)
    await provider.delete_chunks(
        DeleteChunksRequest(
            vector_store_id=store.id,
            chunks=[
                ChunkForDeletion(chunk_id=name, document_id="doc-0") for name in ("chunk-0", "never there")
            ],
        )
    )
    left = await query(router, store.id, texts[0], mode="hybrid", k=10)
    assert {chunk.chunk_id for chunk in left.chunks} == {"chunk-1", "chunk-2"}
    assert stack.client.impls[Api.vector_io] is router


async def test_a_file_is_uploaded_attached_and_found(router: Any, files: Any) -> None:
    from llama_stack_api import OpenAIUpdateVectorStoreFileRequest

    file_id = await upload(files, "handbook.md", HANDBOOK)
    attached = await attach(router, "docs", file_id, attributes={"product": "blue", "major": 4})
    assert (attached.status, attached.last_error, attached.vector_store_id) == ("completed", None, "docs")
    assert attached.attributes == {"product": "blue", "major": 4}
    assert attached.usage_bytes > 384 * 4

    page = await search(
        router,
        "docs",
        "How do I bring the data back?",
        max_num_results=1,
        filters={"type": "gte", "key": "major", "value": 4},
        ranking_options={"ranker": "weighted", "alpha": 0.5, "score_threshold": 0.1},
    )
    (hit,) = page.data
    assert (hit.file_id, hit.filename) == (file_id, "handbook.md")
    assert "snapshot" in hit.content[0].text
    assert hit.attributes is not None
    assert hit.attributes["title"] == "Handbook"
    assert hit.attributes["product"] == "blue"
    assert page.search_query == ["How do I bring the data back?"]

    assert [file.id for file in (await router.openai_list_files_in_vector_store("docs")).data] == [file_id]
    assert await router.openai_retrieve_vector_store_file("docs", file_id) == attached
    contents = await router.openai_retrieve_vector_store_file_contents(
        "docs", file_id, include_embeddings=True, include_metadata=True
    )
    assert "backup runs each night" in "".join(item.text for item in contents.data)
    assert all(len(item.embedding) == 384 for item in contents.data)
    assert {item.metadata["file_id"] for item in contents.data} == {file_id}
    assert {item.chunk_metadata.document_id for item in contents.data} == {file_id}

    await router.openai_update_vector_store_file(
        "docs", file_id, OpenAIUpdateVectorStoreFileRequest(attributes={"product": "red"})
    )
    red = {"type": "eq", "key": "product", "value": "red"}
    assert (await search(router, "docs", "backup", filters=red)).data
    assert not (
        await search(router, "docs", "backup", filters={"type": "eq", "key": "major", "value": 4})
    ).data

    assert (await router.openai_delete_vector_store_file("docs", file_id)).deleted
    assert not (await search(router, "docs", "backup")).data
    assert (await router.openai_retrieve_vector_store("docs")).file_counts.total == 0


async def test_batches(router: Any, files: Any) -> None:
    from llama_stack_api import OpenAICreateVectorStoreFileBatchRequestWithExtraBody

    store = (await create(router, name="Batch")).id
    good = [await upload(files, f"{number}.txt", f"Text number {number}.") for number in range(3)]
    params = OpenAICreateVectorStoreFileBatchRequestWithExtraBody(
        file_ids=[*good, "file-that-is-not-there"], attributes={"batch": "first"}
    )
    batch = await router.openai_create_vector_store_file_batch(store, params)
    assert batch.file_counts.total == 4
    while batch.status == "in_progress":
        batch = await router.openai_retrieve_vector_store_file_batch(batch.id, store)
    assert (batch.status, batch.file_counts.completed, batch.file_counts.failed) == ("completed", 3, 1)

    list_files = router.openai_list_files_in_vector_store_file_batch
    failed = await list_files(batch.id, store, filter="failed")
    assert [(file.id, file.last_error.code) for file in failed.data] == [
        ("file-that-is-not-there", "invalid_file")
    ]
    first = await list_files(batch.id, store, limit=2, order="asc")
    assert ([file.id for file in first.data], first.has_more) == (good[:2], True)
    rest = await list_files(batch.id, store, limit=2, order="asc", after=first.last_id)
    assert ([file.id for file in rest.data][:1], rest.has_more) == (good[2:], False)
    with pytest.raises(ValueError, match="completed and cannot be cancelled"):
        await router.openai_cancel_vector_store_file_batch(batch.id, store)
    with pytest.raises(ValueError, match="no file batch batch_0"):
        await router.openai_retrieve_vector_store_file_batch("batch_0", store)


async def test_a_batch_is_cancelled(router: Any, files: Any) -> None:
    from llama_stack_api import OpenAICreateVectorStoreFileBatchRequestWithExtraBody

    store = (await create(router, name="Cancelled")).id
    ids = [await upload(files, f"{number}.txt", f"Long text {number}. " * 400) for number in range(20)]
    batch = await router.openai_create_vector_store_file_batch(
        store, OpenAICreateVectorStoreFileBatchRequestWithExtraBody(file_ids=ids)
    )
    cancelled = await router.openai_cancel_vector_store_file_batch(batch.id, store)
    assert cancelled.status == "cancelled"
    assert cancelled.file_counts.cancelled >= 15
    assert cancelled.file_counts.in_progress == 0
    again = await attach(router, store, ids[-1])
    assert again.status == "completed"


async def test_each_chunk_gets_a_context_from_a_model(router: Any, files: Any, model: ScriptedModel) -> None:
    store = (await create(router, name="Contextual")).id
    file_id = await upload(files, "handbook.md", HANDBOOK)
    before = len(model.chats)
    strategy = {"type": "contextual", "contextual": {"model_id": "scripted/scripted"}}
    attached = await attach(router, store, file_id, chunking_strategy=strategy)
    assert (attached.status, attached.last_error) == ("completed", None)
    contents = await router.openai_retrieve_vector_store_file_contents(store, file_id)
    assert all(item.text.startswith("This chunk is about operating") for item in contents.data)
    asked = [chat.body["messages"] for chat in model.chats[before:]]
    assert len(asked) == len(contents.data)
    assert "To restore, stop the service" in asked[0][0]["content"]
    with pytest.raises(ValueError, match="needs a model"):
        await attach(router, store, file_id, chunking_strategy={"type": "contextual", "contextual": {}})


async def test_the_library_client_sees_files_and_stores(stack: Any) -> None:
    client = stack.client
    file = await client.files.create(
        file=named_file("notes.txt", b"The printer stands on floor three."), purpose="assistants"
    )
    store = await client.vector_stores.create(
        name="By client", extra_body={"embedding_model": f"onnx/{MODEL}"}
    )
    attached = await client.vector_stores.files.create(vector_store_id=store.id, file_id=file.id)
    assert attached.status == "completed"
    found = await client.vector_stores.search(vector_store_id=store.id, query="Where is the printer?")
    assert found.data[0].filename == "notes.txt"
    chunks = await client.vector_io.query(vector_store_id=store.id, query="printer", params={"k": 1})
    assert chunks.chunks[0].content == found.data[0].content[0].text
    unread = await client.files.create(file=named_file("picture.xyz", b"\x89PNG"), purpose="assistants")
    failed = await client.vector_stores.files.create(vector_store_id=store.id, file_id=unread.id)
    assert (failed.status, failed.last_error.code) == ("failed", "unsupported_file")
    listed = await client.vector_stores.files.list(vector_store_id=store.id)
    assert {file.status for file in listed.data} == {"completed", "failed"}


async def test_what_is_registered_again_stays(tmp_path: Path) -> None:
    from llama_stack_api import Api

    configuration = with_stores(run_configuration(tmp_path), "docs")
    async with embedded_stack(configuration) as stack:
        file_id = await upload(stack.client.impls[Api.files], "handbook.md", HANDBOOK)
        await attach(stack.client.impls[Api.vector_io], "docs", file_id)
    async with embedded_stack(configuration) as stack:
        router = stack.client.impls[Api.vector_io]
        provider = await router.routing_table.get_provider_impl("docs")
        await provider.unregister_vector_store("docs")
        assert (await search(router, "docs", "backup")).data[0].file_id == file_id
        assert (await router.health())["faiss"]["status"] == "OK"


async def test_wrong_configurations_are_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"providers\.vector_io\.faiss\.config\.modus"):
        async with embedded_stack(run_configuration(tmp_path, modus="vector")):
            pass
    (tmp_path / "knowledge").write_text("a file")
    with pytest.raises(StartupError, match=r"vector stores in .*knowledge"):
        async with embedded_stack(run_configuration(tmp_path)):
            pass
