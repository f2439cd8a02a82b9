"""A real Llama Stack server behind the same face as the embedded stack."""

from collections.abc import AsyncIterator, Iterator
from io import BytesIO

import pytest

from lightspeed.errors import (
    BadRequest,
    ModelQuotaExceeded,
    ModelRefused,
    NotFound,
    PromptTooLong,
    RequestError,
)
from lightspeed.stack.chat import ChatRequest
from lightspeed.stack.passages import EmbeddingModel, NewPassage
from lightspeed.stack.remote.client import RemoteStack
from lightspeed.stack.remote.settings import ServerSettings
from lightspeed.stack.stored_objects import NewVectorStore
from tests.llama_stack_server import LlamaStackServer
from tests.scripted_model import (
    ApiError,
    Reply,
    ScriptedModel,
    ToolCall,
    Usage,
    context_length_exceeded,
    rate_limit_exceeded,
)
from tests.service.conftest import free_port

pytestmark = pytest.mark.anyio

QUESTION = ({"role": "user", "content": "How many nodes?"},)
EMBEDDING = EmbeddingModel("scripted/scripted-embedding", 384)
SENTENCE = "Two nodes run the cluster."


@pytest.fixture(scope="module")
def model() -> Iterator[ScriptedModel]:
    with ScriptedModel() as model:
        yield model


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, model: ScriptedModel) -> Iterator[LlamaStackServer]:
    with LlamaStackServer(tmp_path_factory.mktemp("stack"), model, free_port()) as server:
        yield server


@pytest.fixture
async def stack(server: LlamaStackServer) -> AsyncIterator[RemoteStack]:
    stack = await RemoteStack.start(ServerSettings(server.url))
    yield stack
    await stack.close()


def ask(*, stream: bool, model: str = "scripted/scripted") -> ChatRequest:
    return ChatRequest(model, QUESTION, stream=stream)


async def test_text_and_usage_are_the_same_streamed_or_not(stack: RemoteStack, model: ScriptedModel) -> None:
    answers = []
    for stream in (True, False):
        model.queue(Reply("Two nodes run.", usage=Usage(40, 3)))
        pieces = [piece async for piece in await stack.chat(ask(stream=stream))]
        usage = [
            (piece.input_tokens, piece.output_tokens) for piece in pieces if piece.input_tokens is not None
        ]
        reasons = [piece.finish_reason for piece in pieces if piece.finish_reason]
        answers.append(("".join(piece.text for piece in pieces), usage, reasons))
    assert answers[0] == answers[1] == ("Two nodes run.", [(40, 3)], ["stop"])


@pytest.mark.parametrize("stream", [True, False])
async def test_tool_calls(stack: RemoteStack, model: ScriptedModel, stream: bool) -> None:
    model.queue(Reply(tool_calls=[ToolCall("fly", {"to": "moon"}, id="c1")]))
    calls = [call async for piece in await stack.chat(ask(stream=stream)) for call in piece.tool_calls]
    assert (calls[0].id, calls[0].name) == ("c1", "fly")
    assert "moon" in "".join(call.arguments for call in calls)


@pytest.mark.parametrize("stream", [True, False])
@pytest.mark.parametrize(
    ("error", "kind"),
    [(rate_limit_exceeded(), ModelQuotaExceeded), (context_length_exceeded(), PromptTooLong)],
)
async def test_errors_of_the_provider(
    stack: RemoteStack, model: ScriptedModel, stream: bool, error: ApiError, kind: type[RequestError]
) -> None:
    model.queue(Reply(error=error), times=3 if error.status == 429 else 1)
    with pytest.raises(kind):
        async for _ in await stack.chat(ask(stream=stream)):
            pass


async def test_a_stream_that_breaks_is_an_error(stack: RemoteStack, model: ScriptedModel) -> None:
    model.queue(Reply("one two", cut_at=1))
    with pytest.raises(ModelRefused):
        async for _ in await stack.chat(ask(stream=True)):
            pass


async def test_a_model_that_is_not_there(stack: RemoteStack) -> None:
    with pytest.raises(NotFound):
        await stack.chat(ask(stream=True, model="scripted/none"))


async def test_what_is_stored_is_found(stack: RemoteStack) -> None:
    assert await stack.default_embedding_model() == EMBEDDING
    passages = [
        NewPassage("a", SENTENCE, {"document_id": "nodes", "title": "Nodes", "page": 3}),
        NewPassage("b", "The kettle hums.", {"document_id": "kettle"}),
    ]
    await stack.knowledge.insert("docs", passages)
    await stack.knowledge.insert("docs", passages)
    found = await stack.knowledge.search("docs", stack.knowledge.question(SENTENCE), 5)
    assert [passage.id for passage in found] == ["a", "b"]
    assert found[0].content == SENTENCE
    assert found[0].metadata == {"document_id": "nodes", "title": "Nodes", "page": 3}
    assert 1 >= found[0].score > found[1].score >= 0
    with pytest.raises(NotFound):
        await stack.knowledge.search("nothing", stack.knowledge.question("x"), 5)
    with pytest.raises(BadRequest):
        await stack.knowledge.delete_documents("docs", ["nodes"])


async def test_a_new_store_keeps_the_name_that_it_was_given_here(
    stack: RemoteStack, server: LlamaStackServer
) -> None:
    for _ in range(2):
        await stack.knowledge.create("manuals", EMBEDDING)
    assert sorted(await stack.knowledge.ids()) == ["docs", "manuals"]
    await stack.knowledge.insert("manuals", [NewPassage("a", SENTENCE, {"document_id": "nodes"})])
    another = await RemoteStack.start(ServerSettings(server.url))
    try:
        (found,) = await another.knowledge.search("manuals", another.knowledge.question("nodes"), 5)
    finally:
        await another.close()
    assert found.content == SENTENCE
    assert await stack.vector_stores.delete("manuals")


async def test_metadata_of_a_store_are_the_users_and_the_servers(stack: RemoteStack) -> None:
    mine = NewVectorStore("mine", metadata={"a": "b", "lightspeed_store": "docs", "provider_id": "x"})
    store = await stack.vector_stores.create("not used", mine)
    assert store.id.startswith("vs_")
    assert store.metadata["a"] == "b"
    assert store.metadata["provider_id"] == "faiss"
    assert store.id in await stack.vector_stores.ids()
    changed = await stack.vector_stores.update(store.id, metadata={"c": "d", "embedding_model": "other"})
    assert changed.metadata["embedding_model"] == "scripted/scripted-embedding"
    assert (changed.name, changed.metadata["c"], "a" in changed.metadata) == ("mine", "d", False)
    assert await stack.vector_stores.delete(store.id)
    assert not await stack.vector_stores.delete(store.id)


async def test_files_with_any_name(stack: RemoteStack) -> None:
    content = b"text " * 100_000
    stored = await stack.files.upload(BytesIO(content), "naïve 文\r\n.txt", len(content))
    assert (stored.bytes, "\n" in stored.filename) == (len(content), False)
    assert "文" in stored.filename
    assert await stack.files.get(stored.id) == stored
    assert await stack.files.delete(stored.id)
    assert not await stack.files.delete(stored.id)
    with pytest.raises(NotFound):
        await stack.files.get(stored.id)


@pytest.mark.parametrize("file_id", [".", ".."])
async def test_an_id_leads_to_no_other_resource(stack: RemoteStack, file_id: str) -> None:
    store = await stack.vector_stores.create("not used", NewVectorStore("mine"))
    files = stack.vector_stores.files
    assert not await files.detach(store.id, file_id)
    with pytest.raises(NotFound):
        await files.get(store.id, file_id)
    with pytest.raises(NotFound):
        await stack.files.get(file_id)
    assert await stack.vector_stores.get(store.id) == store
    assert await stack.vector_stores.delete(store.id)


async def test_a_provider_for_new_stores_that_is_not_there(stack: RemoteStack) -> None:
    with pytest.raises(BadRequest, match="nobody"):
        await stack.vector_stores.create("x", NewVectorStore("x", provider_id="nobody"))
