"""Tokens for the Azure models behind a Llama Stack server."""

import json
from collections.abc import AsyncIterator, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from anyio import to_thread

from lightspeed.errors import NotFound, ProviderUnavailable
from lightspeed.stack.azure_authority import AzureAuthority
from lightspeed.stack.azure_tokens import AzureTokens
from lightspeed.stack.chat import ChatRequest
from lightspeed.stack.remote.client import RemoteStack
from lightspeed.stack.remote.settings import ServerSettings
from tests.embedded import knowledge
from tests.llama_stack_server import LlamaStackServer
from tests.scripted_model import Reply, ScriptedModel
from tests.service.conftest import free_port
from tests.stack.entra_id import EntraId
from tests.stack.remote.small_server import SmallServer, small_server

pytestmark = pytest.mark.anyio

QUESTION = ({"role": "user", "content": "When?"},)


@pytest.fixture
def entra_id() -> Iterator[EntraId]:
    with EntraId() as entra_id:
        yield entra_id


@pytest.fixture
async def small() -> AsyncIterator[SmallServer]:
    async with small_server() as small:
        small.answer("/providers", {"data": [provider("azure", "https://one/openai/v1")]})
        yield small


def provider(name: str, address: str | None) -> dict[str, Any]:
    config = {} if address is None else {"base_url": address}
    return {"api": "inference", "provider_id": name, "provider_type": "remote::azure", "config": config}


def tokens_of(entra_id: EntraId) -> AzureTokens:
    return AzureTokens(AzureAuthority(entra_id.configuration()))


async def ask(stack: RemoteStack, model: str) -> str:
    request = ChatRequest(model, QUESTION, stream=False)
    return "".join([piece.text async for piece in await stack.chat(request)])


async def test_a_real_server_calls_azure_with_the_token(tmp_path: Path, entra_id: EntraId) -> None:
    with ScriptedModel(Reply("Each night.")) as model:
        server = LlamaStackServer(tmp_path, model, free_port(), **sections(tmp_path, model))
        await to_thread.run_sync(server.__enter__)
        try:
            stack = await RemoteStack.start(ServerSettings(server.url), azure_tokens=tokens_of(entra_id))
            try:
                assert await ask(stack, "azure/scripted") == "Each night."
                question = stack.knowledge.question("nodes restart")
                await stack.knowledge.search("docs", question, 2)
            finally:
                await stack.close()
        finally:
            await to_thread.run_sync(server.stop)
        posted = [seen for seen in model.requests if seen.method == "POST"]
    assert {seen.path for seen in posted} == {"/v1/chat/completions", "/v1/embeddings"}
    assert {seen.headers["authorization"] for seen in posted} == {"Bearer token-1"}
    assert entra_id.given == 1


def sections(state: Path, model: ScriptedModel) -> dict[str, Any]:
    """A server whose only models are those of Azure, without a key."""
    azure = {
        "provider_id": "azure",
        "provider_type": "remote::azure",
        "config": {"base_url": model.base_url},
    }
    files = {
        "provider_id": "local",
        "provider_type": "inline::local-files",
        "module": "lightspeed.stack.providers.local_files",
        "config": {"path": str(state / "files")},
    }
    embedding = {
        "model_id": "scripted-embedding",
        "provider_id": "azure",
        "provider_model_id": "scripted-embedding",
        "model_type": "embedding",
        "metadata": {"embedding_dimension": 384},
    }
    chat = {"model_id": "scripted", "provider_id": "azure", "provider_model_id": "scripted"}
    store = {
        "vector_store_id": "docs",
        "provider_id": "faiss",
        "embedding_model": "azure/scripted-embedding",
        "embedding_dimension": 384,
    }
    return {
        "providers": {"inference": [azure], **knowledge(state / "knowledge"), "files": [files]},
        "registered_resources": {
            "models": [embedding, chat | {"model_type": "llm"}],
            "vector_stores": [store],
        },
    }


def sent(small: SmallServer) -> Sequence[Any]:
    """The provider data of all requests, None for those without."""
    return [json.loads(headers.get("x-llamastack-provider-data", "null")) for headers in small.seen]


async def test_each_provider_is_given_its_own_address(small: SmallServer, entra_id: EntraId) -> None:
    two = [provider("azure", "https://one/openai/v1"), provider("azure-2", "https://two/openai/v1")]
    small.answer("/providers", {"data": two})
    stack = await RemoteStack.start(
        ServerSettings(small.url),
        provider_data=lambda: {"openai_api_key": "k"},
        azure_tokens=tokens_of(entra_id),
    )
    try:
        assert sent(small)[0] == {"openai_api_key": "k"}
        small.seen.clear()
        for name in ("azure", "azure-2", "other"):
            with pytest.raises(NotFound):
                await ask(stack, f"{name}/gpt")
    finally:
        await stack.close()
    asked = [data for data in sent(small) if data.get("azure_api_key") == "token-1"]
    assert [data["azure_api_base"] for data in asked][-3:] == [
        "https://one/openai/v1",
        "https://two/openai/v1",
        "https://one/openai/v1",
    ]
    assert {data["openai_api_key"] for data in asked} == {"k"}


async def test_an_authority_that_is_away_and_comes_back(
    small: SmallServer, entra_id: EntraId, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("lightspeed.stack.azure_tokens._TOLD_FRESHLY", 0.0)
    await to_thread.run_sync(entra_id.__exit__)
    stack = await RemoteStack.start(ServerSettings(small.url), azure_tokens=tokens_of(entra_id))
    try:
        with pytest.raises(ProviderUnavailable, match="Microsoft Entra ID"):
            await ask(stack, "azure/gpt")
        with pytest.raises(NotFound):
            await ask(stack, "other/gpt")
        entra_id.__enter__()
        with pytest.raises(NotFound):
            await ask(stack, "azure/gpt")
    finally:
        await stack.close()
    assert sent(small)[-1]["azure_api_key"] == "token-1"


async def test_a_server_without_azure(
    small: SmallServer, entra_id: EntraId, caplog: pytest.LogCaptureFixture
) -> None:
    small.answer(
        "/providers", {"data": [{**provider("azure", "https://one"), "provider_type": "remote::openai"}]}
    )
    stack = await RemoteStack.start(ServerSettings(small.url), azure_tokens=tokens_of(entra_id))
    try:
        for _ in range(2):
            with pytest.raises(NotFound):
                await ask(stack, "azure/gpt")
    finally:
        await stack.close()
    assert caplog.text.count("azure_entra_id has no effect") == 1
    assert entra_id.given == 0
    assert set(sent(small)) == {None}


async def test_a_server_that_does_not_name_its_providers(small: SmallServer, entra_id: EntraId) -> None:
    del small.answers["/providers"]
    stack = await RemoteStack.start(ServerSettings(small.url), azure_tokens=tokens_of(entra_id))
    try:
        with pytest.raises(NotFound):
            await ask(stack, "azure/gpt")
    finally:
        await stack.close()
