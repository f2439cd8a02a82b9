"""Providers that are away, come, go and come back, in front of the real stack."""

import logging
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

import anyio
import anyio.lowlevel
import pytest
from anyio import to_thread

from lightspeed.errors import NotFound, ProviderUnavailable, StartupError
from lightspeed.stack.chat import ChatRequest
from lightspeed.stack.environment import prepare_environment
from lightspeed.stack.passages import NewPassage
from tests.embedded import run_configuration, with_store
from tests.postgresql import Postgresql, postgresql_server
from tests.scripted_model import ScriptedModel, invalid_api_key, server_error
from tests.scripted_model.error import ApiError

if TYPE_CHECKING:
    from lightspeed.stack.client import EmbeddedStack
    from lightspeed.stack.provider_health import ProviderHealth

pytestmark = pytest.mark.anyio

QUESTION = ({"role": "user", "content": "How many nodes?"},)


@pytest.fixture
def state(tmp_path: Path) -> Path:
    (tmp_path / "stack").mkdir()
    return tmp_path


@asynccontextmanager
async def degraded_stack(configuration: dict[str, Any]) -> "AsyncIterator[EmbeddedStack]":
    await to_thread.run_sync(prepare_environment)
    module = await to_thread.run_sync(import_module, "lightspeed.stack.client")
    stack = await module.EmbeddedStack.start(configuration, strict=False)
    try:
        yield stack
    finally:
        await stack.close()


async def ask(stack: "EmbeddedStack", model: str = "scripted/scripted") -> str:
    return "".join(
        [piece.text async for piece in await stack.chat(ChatRequest(model, QUESTION, stream=True))]
    )


async def health_now(stack: "EmbeddedStack", provider: str = "scripted") -> "ProviderHealth":
    """The health after a round that begins now."""
    stack.watch._ended_at = float("-inf")
    await stack.watch.check()
    (found,) = [health for health in stack.watch.health if health.provider_id == provider]
    return found


async def wait_for_health(stack: "EmbeddedStack", down: set[str], seconds: float = 15) -> None:
    """What the watch finds by itself. With nothing down, nothing waits either."""
    watch = stack.watch
    with anyio.fail_after(seconds):
        while {health.provider_id for health in watch.down} != down or (watch.waiting() and not down):  # noqa: ASYNC110 - as a client polls
            await anyio.sleep(0.02)
        await watch.check()  # to its end


def second_provider(configuration: dict[str, Any], model: ScriptedModel, **config: Any) -> dict[str, Any]:
    configuration["providers"]["inference"].append(
        {
            "provider_id": "second",
            "provider_type": "remote::openai",
            "config": {"api_key": "sk-second-key", "base_url": model.base_url} | config,
        }
    )
    return configuration


async def test_a_provider_comes_goes_and_comes_back(state: Path, caplog: pytest.LogCaptureFixture) -> None:
    model = ScriptedModel()
    with model:
        configuration = run_configuration(state, model)
    with caplog.at_level(logging.INFO, "lightspeed"):
        async with degraded_stack(configuration) as stack:
            heard: list[list[str]] = []
            stack.when_models_change(lambda models: heard.append([one.identifier for one in models]))
            (down,) = stack.watch.down
            assert (down.api, down.provider_id, down.status) == ("inference", "scripted", "Error")
            assert down.message == "It cannot be reached: the connection was refused."
            assert await stack.models() == []
            with pytest.raises(ProviderUnavailable):
                await ask(stack)
            async with model:
                await wait_for_health(stack, set())
                assert heard == [["scripted/scripted", "scripted/scripted-embedding"]]
                assert await ask(stack) == "A scripted answer."
                # Asking for models again must not close the connections of questions.
                await health_now(stack)
                assert await ask(stack) == "A scripted answer."
            with pytest.raises(ProviderUnavailable):
                await ask(stack)
            await wait_for_health(stack, {"scripted"})  # far sooner than the next regular round
            async with model:
                await wait_for_health(stack, set())
                assert await ask(stack) == "A scripted answer."
    told = [record.getMessage() for record in caplog.records if "Provider scripted" in record.getMessage()]
    assert [line.rpartition(" is ")[2].partition(":")[0] for line in told] == ["down", "back", "down", "back"]


@pytest.mark.parametrize(
    ("failure", "status", "message"),
    [
        (invalid_api_key(), "Error", "rejected the credentials of this service (status 401)"),
        (server_error(), "Error", "status 500"),
        (ApiError(404, "no such route", "invalid_request_error", None), "OK", "cannot list its models"),
        (ApiError(429, "slowly", "rate_limit", None), "OK", "limits the number of requests"),
    ],
    ids=["wrong key", "server error", "no list", "rate limit"],
)
async def test_what_a_provider_answers_is_told_apart(
    state: Path, failure: ApiError, status: str, message: str
) -> None:
    async with ScriptedModel() as model, degraded_stack(run_configuration(state, model)) as stack:
        assert (await health_now(stack)).status == "OK"
        model.failures["/v1/models"] = failure
        found = await health_now(stack)
        assert found.status == status
        assert message in (found.message or "")
        assert "sk-scripted-key" not in str(found)
        assert len(await stack.models()) == 2


async def test_a_provider_without_a_key_says_so(state: Path) -> None:
    async with ScriptedModel() as model:
        configuration = run_configuration(state, model)
        configuration["providers"]["inference"][0]["config"]["api_key"] = ""
        async with degraded_stack(configuration) as stack:
            assert (await health_now(stack)).message == "No API key is configured."


async def test_models_of_a_provider_that_is_down_come_last(state: Path) -> None:
    gone = ScriptedModel(models=["gone"], embedding_models=[])
    async with ScriptedModel(models=["here"], embedding_models=[]) as model:
        with gone:
            configuration = run_configuration(state, gone)
            async with degraded_stack(second_provider(configuration, model)) as stack:
                assert [one.name for one in await stack.models() if one.model_type == "llm"] == [
                    "gone",
                    "here",
                ]
        async with degraded_stack(configuration) as stack:
            assert [one.name for one in await stack.models() if one.model_type == "llm"] == ["here", "gone"]


async def test_new_and_retired_models_are_learned(state: Path) -> None:
    async with ScriptedModel(models=["old"]) as model:
        port = model.port
        configuration = run_configuration(state, model)
        async with degraded_stack(configuration) as stack:
            await to_thread.run_sync(model.stop)
            async with ScriptedModel(models=["new", "newer"], embedding_models=[], port=port):
                await health_now(stack)
                assert {one.name for one in await stack.models()} == {"new", "newer"}
                assert await ask(stack, "scripted/newer") == "A scripted answer."


async def test_checks_are_joined_and_not_more_than_one_a_second(state: Path) -> None:
    async with ScriptedModel() as model, degraded_stack(run_configuration(state, model)) as stack:
        before = len(model.requests)
        stack.watch._ended_at = float("-inf")
        async with anyio.create_task_group() as group:
            for _ in range(20):
                group.start_soon(stack.watch.check)
        for _ in range(20):
            await stack.watch.check()
        assert len(model.requests) == before + 1


async def test_a_local_provider_that_cannot_start_is_survived_if_another_answers(state: Path) -> None:
    broken = {
        "provider_id": "local",
        "provider_type": "inline::llamacpp",
        "module": "lightspeed.stack.providers.llamacpp",
        "config": {"model": str(state / "missing.gguf")},
    }
    async with ScriptedModel() as model:
        configuration = run_configuration(state, model)
        configuration["providers"]["inference"].append(broken)
        async with degraded_stack(configuration) as stack:
            (down,) = stack.watch.down
            assert down.provider_id == "local"
            assert "could not be started" in (down.message or "")
            assert "missing.gguf" in (down.message or "")
            assert stack.providers == {"scripted", "local"}
            assert await ask(stack) == "A scripted answer."
        configuration["providers"]["inference"] = [broken]
        with pytest.raises(StartupError, match=r"missing\.gguf"):
            async with degraded_stack(configuration):
                pass


@pytest.fixture
def server() -> Iterator[Postgresql]:
    """A server of its own, which may be stopped."""
    with postgresql_server() as server:
        yield server


async def test_a_vector_database_that_is_away_joins_when_it_comes(state: Path, server: Postgresql) -> None:
    database = await to_thread.run_sync(server.new_database)
    await to_thread.run_sync(server.stop)
    provider = {
        "provider_id": "faiss",
        "provider_type": "remote::pgvector",
        "config": {
            **server.configuration(database),
            "persistence": {"backend": "kv_knowledge", "namespace": "vector_io::pgvector"},
        },
    }
    async with ScriptedModel() as model:
        configuration = with_store(run_configuration(state, model, vector_io=[provider]), "docs")
        async with degraded_stack(configuration) as stack:
            (down,) = stack.watch.down
            assert (down.api, down.provider_id) == ("vector_io", "faiss")
            assert down.message == "It could not be started: Could not connect to PGVector database server."
            assert server.password not in str(stack.watch.health)
            assert stack.watch.waiting() == [("vector store docs", "Provider faiss is not running.")]
            assert await ask(stack) == "A scripted answer."
            away = "No provider of vector stores is running: faiss"
            with pytest.raises(ProviderUnavailable, match=away):
                await stack.knowledge.search("docs", stack.knowledge.question("nodes"), 1)
            with pytest.raises(ProviderUnavailable, match=away):
                await stack.vector_stores.get("docs")

            await to_thread.run_sync(server.start)
            await wait_for_health(stack, set(), 30)
            assert stack.watch.waiting() == []
            await stack.knowledge.insert("docs", [NewPassage("a-0", "nodes restart", {"document_id": "a"})])
            (found,) = await stack.knowledge.search("docs", stack.knowledge.question("nodes"), 1)
            assert found.content == "nodes restart"

            await to_thread.run_sync(server.stop)
            assert (await health_now(stack, "faiss")).message == "It cannot be reached."


async def test_a_store_of_a_provider_that_is_away_is_not_gone(state: Path) -> None:
    ours = {
        "provider_id": "faiss",
        "provider_type": "inline::faiss-sqlite",
        "module": "lightspeed.stack.providers.faiss_sqlite",
        "config": {"path": str(state / "knowledge")},
    }
    (state / "blocked").write_text("not a folder")
    away = ours | {"provider_id": "away", "config": {"path": str(state / "blocked" / "knowledge")}}
    async with ScriptedModel() as model:
        configuration = with_store(run_configuration(state, model, vector_io=[ours, away]), "docs")
        configuration["registered_resources"]["vector_stores"][0]["provider_id"] = "away"
        async with degraded_stack(configuration) as stack:
            reason = "Provider away of vector store docs is not running."
            with pytest.raises(ProviderUnavailable, match=reason):
                await stack.vector_stores.get("docs")
            with pytest.raises(ProviderUnavailable, match=reason):
                await stack.vector_stores.delete("docs")
            with pytest.raises(ProviderUnavailable, match=reason):
                await stack.knowledge.search("docs", stack.knowledge.question("nodes"), 1)
            with pytest.raises(NotFound):
                await stack.vector_stores.get("others")


async def test_a_store_waits_for_the_provider_of_its_embedding_model(state: Path) -> None:
    name = "text-embedding-3-small"
    away = ScriptedModel(models=[], embedding_models=[name], embedding_dimension=1536)
    with away:
        pass
    async with ScriptedModel(embedding_models=[]) as model:
        knowledge = {
            "provider_id": "faiss",
            "provider_type": "inline::faiss-sqlite",
            "module": "lightspeed.stack.providers.faiss_sqlite",
            "config": {"path": str(state / "knowledge")},
        }
        configuration = with_store(
            second_provider(run_configuration(state, model, vector_io=[knowledge]), away), "docs"
        )
        resources = configuration["registered_resources"]
        resources["models"] = []
        resources["vector_stores"][0] |= {"embedding_model": f"second/{name}", "embedding_dimension": 1536}
        async with degraded_stack(configuration) as stack:
            ((waits, _),) = stack.watch.waiting()
            assert waits == "vector store docs"
            with pytest.raises(ProviderUnavailable, match="docs could not be registered yet"):
                await stack.vector_stores.get("docs")
            async with away:
                await wait_for_health(stack, set())
                assert await stack.knowledge.ids() == ["docs"]


async def test_a_provider_that_others_are_built_upon_needs_a_restart(state: Path) -> None:
    (state / "files").write_text("not a folder")
    files = {
        "provider_id": "local",
        "provider_type": "inline::local-files",
        "module": "lightspeed.stack.providers.local_files",
        "config": {"path": str(state / "files")},
    }
    async with (
        ScriptedModel() as model,
        degraded_stack(run_configuration(state, model, files=[files])) as stack,
    ):
        (down,) = stack.watch.down
        assert (down.api, down.provider_id) == ("files", "local")
        assert str(down.message).endswith("It is used only after a restart of the service.")
        assert await ask(stack) == "A scripted answer."


def rounds(model: ScriptedModel) -> int:
    return sum(request.path == "/v1/models" for request in model.requests)


@pytest.mark.parametrize("anyio_backend", [("asyncio", {"use_uvloop": True})], ids=["uvloop"])
async def test_a_hint_is_never_lost(state: Path, anyio_backend: object) -> None:
    async with ScriptedModel() as model, degraded_stack(run_configuration(state, model)) as stack:
        stack.watch.begin()
        # The timers of the service's event loop are exact to the millisecond: some end a little too soon.
        for step in range(10):
            before = rounds(model)
            stack.watch._ended_at = time.monotonic() - 0.9 - step * 0.0002
            stack.watch.soon()
            with anyio.fail_after(10):  # a regular round is farther away
                while rounds(model) == before:  # noqa: ASYNC110 - as a client polls
                    await anyio.sleep(0.01)


async def test_a_hint_during_a_round_begins_another(state: Path) -> None:
    async with ScriptedModel() as model, degraded_stack(run_configuration(state, model)) as stack:
        stack.watch.begin()
        stack.watch._ended_at = float("-inf")
        before = rounds(model)
        async with anyio.create_task_group() as group:
            group.start_soon(stack.watch.check)
            await anyio.lowlevel.checkpoint()
            stack.watch.soon()
        with anyio.fail_after(10):
            while rounds(model) < before + 2:  # noqa: ASYNC110 - as a client polls
                await anyio.sleep(0.01)
