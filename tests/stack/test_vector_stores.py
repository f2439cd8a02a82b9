"""The faces of the stack's vector stores and files, with the stack's own providers behind them."""

import sqlite3
from collections.abc import AsyncIterator
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from blockbuster import BlockBuster

from lightspeed.errors import BadRequest, NotFound, RequestError, StorageError, TooLarge
from lightspeed.stack.stored_objects import NewVectorStore
from tests.api.knowledge import allow_the_stock_providers, stock
from tests.embedded import embedded_stack
from tests.scripted_model import ScriptedModel

if TYPE_CHECKING:
    from lightspeed.stack.client import EmbeddedStack
    from lightspeed.stack.vector_stores import VectorStores

pytestmark = pytest.mark.anyio

STORE = "vs_1"


@pytest.fixture(scope="module")
async def stack(tmp_path_factory: pytest.TempPathFactory) -> "AsyncIterator[EmbeddedStack]":
    state: Path = tmp_path_factory.mktemp("state")
    (state / "stack").mkdir()
    with ScriptedModel() as model:
        configuration = stock(state, model)
        configuration["vector_stores"] = {
            "default_provider_id": "faiss",
            "default_embedding_model": {"provider_id": "scripted", "model_id": "scripted-embedding"},
        }
        async with embedded_stack(configuration) as stack:
            yield stack


@pytest.fixture
async def stores(stack: "EmbeddedStack", no_blocking_calls: BlockBuster) -> "AsyncIterator[VectorStores]":
    from lightspeed.stack.vector_stores import VectorStores

    allow_the_stock_providers(no_blocking_calls)
    stores = VectorStores(stack.client.impls)
    yield stores
    for store_id in await stores.ids():
        if store_id != "knowledge":
            await stores.delete(store_id)


class Failing:
    """A method of a provider that fails some times before it works."""

    def __init__(self, works: Any, *errors: Exception) -> None:
        self.works = works
        self.errors = list(errors)

    async def __call__(self, *arguments: Any, **named: Any) -> Any:
        if self.errors:
            raise self.errors.pop(0)
        return await self.works(*arguments, **named)


def provider(stack: "EmbeddedStack") -> Any:
    from llama_stack_api import Api

    return stack.client.impls[Api.vector_stores].impls_by_provider_id["faiss"]


async def file_of(stack: "EmbeddedStack", content: bytes) -> str:
    from lightspeed.stack.files import Files

    return (await Files(stack.client.impls).upload(BytesIO(content), "a.txt", len(content))).id


async def test_the_defaults_of_the_stack_are_used(stores: "VectorStores") -> None:
    made = await stores.create(STORE, NewVectorStore("manuals"))
    assert made.metadata["embedding_model"] == "scripted/scripted-embedding"
    assert made.metadata["provider_id"] == "faiss"
    assert set(await stores.ids()) == {"knowledge", STORE}


async def test_a_store_that_cannot_be_made_is_not_half_there(
    stack: "EmbeddedStack", stores: "VectorStores", monkeypatch: pytest.MonkeyPatch
) -> None:
    works = provider(stack).openai_create_vector_store
    monkeypatch.setattr(
        provider(stack), "openai_create_vector_store", Failing(works, OSError("no space left"))
    )
    with pytest.raises(RequestError):
        await stores.create(STORE, NewVectorStore("manuals"))
    assert await stores.ids() == ["knowledge"]
    with pytest.raises(NotFound):
        await stores.get(STORE)
    assert (await stores.create(STORE, NewVectorStore("manuals"))).id == STORE


async def test_a_store_that_its_provider_has_lost_can_be_deleted(
    stack: "EmbeddedStack", stores: "VectorStores"
) -> None:
    await stores.create(STORE, NewVectorStore("manuals"))
    await provider(stack).openai_delete_vector_store(STORE)
    with pytest.raises(NotFound):
        await stores.get(STORE)
    assert await stores.delete(STORE)
    assert not await stores.delete(STORE)
    assert await stores.ids() == ["knowledge"]


@pytest.mark.parametrize(("times", "pauses"), [(1, 1), (2, 2)])
async def test_a_locked_database_is_tried_again(
    stack: "EmbeddedStack",
    stores: "VectorStores",
    monkeypatch: pytest.MonkeyPatch,
    times: int,
    pauses: int,
) -> None:
    from lightspeed.stack.store_table import StoreTable
    from lightspeed.stack.vector_store_files import VectorStoreFiles

    await stores.create(STORE, NewVectorStore("manuals"))
    file_id = await file_of(stack, b"Backups run at two.")
    works = provider(stack).openai_attach_file_to_vector_store
    locked = sqlite3.OperationalError("database is locked")
    monkeypatch.setattr(
        provider(stack), "openai_attach_file_to_vector_store", Failing(works, *[locked] * times)
    )
    files = VectorStoreFiles(StoreTable(stack.client.impls), pauses=[0.01] * pauses)
    assert (await files.attach(STORE, file_id)).status == "completed"


async def test_a_database_that_stays_locked_is_told(
    stack: "EmbeddedStack", stores: "VectorStores", monkeypatch: pytest.MonkeyPatch
) -> None:
    from lightspeed.stack.store_table import StoreTable
    from lightspeed.stack.vector_store_files import VectorStoreFiles

    await stores.create(STORE, NewVectorStore("manuals"))
    locked = [sqlite3.OperationalError("database is locked") for _ in range(9)]
    failing = Failing(None, *locked)
    monkeypatch.setattr(provider(stack), "openai_attach_file_to_vector_store", failing)
    files = VectorStoreFiles(StoreTable(stack.client.impls), pauses=(0.01, 0.01))
    with pytest.raises(StorageError) as raised:
        await files.attach(STORE, "file-1")
    assert (raised.value.status, raised.value.response, raised.value.cause) == (
        500,
        "Failed to create vector store file",
        "All retry attempts failed to create the vector store file",
    )
    assert len(failing.errors) == 6


async def test_other_failures_are_not_tried_again(
    stack: "EmbeddedStack", stores: "VectorStores", monkeypatch: pytest.MonkeyPatch
) -> None:
    await stores.create(STORE, NewVectorStore("manuals"))
    failing = Failing(None, ValueError("the file is of no use"), ValueError("again"))
    monkeypatch.setattr(provider(stack), "openai_attach_file_to_vector_store", failing)
    with pytest.raises(BadRequest, match="of no use"):
        await stores.files.attach(STORE, "file-1")
    assert len(failing.errors) == 1


async def test_rewriting_needs_a_model_that_does_it(stores: "VectorStores") -> None:
    with pytest.raises(BadRequest, match="rewriting"):
        await stores.search("knowledge", ["backups"], limit=1, rewrite=True)


@pytest.mark.parametrize(
    ("refusal", "expected", "cause"),
    [
        (
            ValueError("the content exceeds 10 bytes"),
            TooLarge,
            "File upload rejected: the content exceeds 10",
        ),
        (ValueError("no such purpose"), BadRequest, "File upload rejected by Llama Stack: no such purpose"),
    ],
)
async def test_a_file_that_the_stack_refuses(
    stack: "EmbeddedStack",
    monkeypatch: pytest.MonkeyPatch,
    refusal: Exception,
    expected: type[RequestError],
    cause: str,
) -> None:
    from llama_stack_api import Api

    from lightspeed.stack.files import Files

    monkeypatch.setattr(stack.client.impls[Api.files], "openai_upload_file", Failing(None, refusal))
    with pytest.raises(expected) as raised:
        await Files(stack.client.impls).upload(BytesIO(b"x"), "a.txt", 1)
    assert raised.value.response == "Invalid file upload"
    assert raised.value.cause.startswith(cause)


@pytest.mark.parametrize("file_id", ["file-0", "../x", "", "file-" + "0" * 500])
async def test_files_that_are_not_there(stack: "EmbeddedStack", file_id: str) -> None:
    from lightspeed.stack.files import Files

    files = Files(stack.client.impls)
    with pytest.raises((NotFound, BadRequest)):
        await files.get(file_id)
