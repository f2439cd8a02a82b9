"""Azure providers of the embedded stack, in front of a scripted model as the deployment."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from anyio import to_thread

from lightspeed.errors import ProviderUnavailable
from lightspeed.stack.azure_authority import AzureAuthority
from lightspeed.stack.azure_tokens import AzureTokens
from lightspeed.stack.chat import ChatRequest
from lightspeed.stack.environment import prepare_environment
from tests.clock import Clock
from tests.embedded import run_configuration
from tests.scripted_model import Reply, ScriptedModel
from tests.stack.entra_id import EntraId

if TYPE_CHECKING:
    from lightspeed.stack.client import EmbeddedStack

pytestmark = pytest.mark.anyio

QUESTION = ({"role": "user", "content": "When?"},)


@pytest.fixture
def entra_id() -> Iterator[EntraId]:
    with EntraId() as entra_id:
        yield entra_id


@pytest.fixture
def state(tmp_path: Path) -> Path:
    (tmp_path / "stack").mkdir()
    return tmp_path


def azure(model: ScriptedModel, **config: Any) -> dict[str, Any]:
    config = {"base_url": model.base_url} | config
    return {"provider_id": "azure", "provider_type": "remote::azure", "config": config}


def configuration(state: Path, model: ScriptedModel, **config: Any) -> dict[str, Any]:
    """An Azure provider beside one that has a key."""
    tree = run_configuration(state, model)
    tree["providers"]["inference"].append(azure(model, **config))
    deployment = {"model_id": "scripted", "provider_id": "azure", "provider_model_id": "scripted"}
    return tree | {"registered_resources": {"models": [deployment | {"model_type": "llm"}]}}


@asynccontextmanager
async def stack_with_tokens(tree: dict[str, Any], tokens: AzureTokens) -> AsyncIterator["EmbeddedStack"]:
    await to_thread.run_sync(prepare_environment)
    module = await to_thread.run_sync(import_module, "lightspeed.stack.client")
    stack = await module.EmbeddedStack.start(tree, strict=False, azure_tokens=tokens)
    try:
        yield stack
    finally:
        await stack.close()


async def ask(stack: "EmbeddedStack", model: str = "azure/scripted", *, stream: bool = False) -> str:
    request = ChatRequest(model, QUESTION, stream=stream)
    return "".join([piece.text async for piece in await stack.chat(request)])


@pytest.mark.parametrize("config", [{}, {"api_key": "a-key-of-old"}])
async def test_calls_are_signed_with_the_token(
    state: Path, entra_id: EntraId, config: dict[str, str]
) -> None:
    """Also if there is a key; other providers keep theirs. A new token needs neither restart nor connection."""
    clock = Clock()
    tokens = AzureTokens(AzureAuthority(entra_id.configuration()), clock=clock)
    with ScriptedModel(Reply("Each night."), Reply("Each night."), models=["scripted"]) as model:
        async with stack_with_tokens(configuration(state, model, **config), tokens) as stack:
            assert await ask(stack) == await ask(stack, stream=True) == "Each night."
            await ask(stack, "scripted/scripted")
            clock.now += 3590
            await ask(stack)
            assert "azure" not in stack.down
        sent = [chat.headers["authorization"] for chat in model.chats]
        listed = [seen.headers["authorization"] for seen in model.requests if seen.path == "/v1/models"]
    assert sent == ["Bearer token-1", "Bearer token-1", "Bearer sk-scripted-key", "Bearer token-2"]
    assert set(listed) == {"Bearer token-1", "Bearer sk-scripted-key"}
    assert entra_id.given == 2


async def test_twenty_first_questions_cause_one_fetch(state: Path, entra_id: EntraId) -> None:
    clock = Clock()
    tokens = AzureTokens(AzureAuthority(entra_id.configuration()), clock=clock)
    with ScriptedModel() as model:
        async with stack_with_tokens(configuration(state, model), tokens) as stack:
            clock.now += 7200  # the token of the start is over
            before = entra_id.given
            await asyncio.gather(*(ask(stack) for _ in range(20)))
        assert {chat.headers["authorization"] for chat in model.chats} == {f"Bearer token-{before + 1}"}
        assert len(model.chats) == 20
    assert entra_id.given == before + 1


async def test_an_authority_that_is_away_at_the_start(state: Path, entra_id: EntraId) -> None:
    await to_thread.run_sync(entra_id.__exit__)
    clock = Clock()
    tokens = AzureTokens(AzureAuthority(entra_id.configuration()), clock=clock)
    with ScriptedModel() as model:
        async with stack_with_tokens(configuration(state, model), tokens) as stack:
            assert "azure" in stack.down
            [state_of_azure] = [
                found for found in await stack.providers_down() if found.provider_id == "azure"
            ]
            assert "Microsoft Entra ID" in str(state_of_azure.message)
            assert "azure/scripted" in [found.identifier for found in await stack.models()]
            clock.now += 2
            with pytest.raises(ProviderUnavailable) as raised:
                await ask(stack)
            assert raised.value.cause == "No token for Azure from Microsoft Entra ID: it cannot be reached."
            assert await ask(stack, "scripted/scripted")
            entra_id.__enter__()
            clock.now += 2
            assert await ask(stack)
        assert model.chats[-1].headers["authorization"] == "Bearer token-1"
