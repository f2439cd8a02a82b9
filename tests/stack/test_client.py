"""The embedded stack in front of a scripted model."""

import logging
from pathlib import Path
from typing import Any

import pytest

from lightspeed.errors import ConfigurationError, NotFound, StartupError
from lightspeed.stack.chat import ChatRequest
from lightspeed.stack.passages import EmbeddingModel, NewPassage
from tests.embedded import embedded_stack, knowledge, run_configuration, with_store
from tests.scripted_model import Reply, ScriptedModel, Usage

pytestmark = pytest.mark.anyio

QUESTION = ({"role": "user", "content": "How many nodes?"},)


@pytest.fixture
def state(tmp_path: Path) -> Path:
    (tmp_path / "stack").mkdir()
    return tmp_path


async def test_connections_to_a_provider_are_kept(state: Path) -> None:
    async with ScriptedModel() as model, embedded_stack(run_configuration(state, model)) as stack:
        for stream in (True, False, True):
            async for _ in await stack.chat(ChatRequest("scripted/scripted", QUESTION, stream=stream)):
                pass
        provider = stack.client.impls[_inference()].routing_table.impls_by_provider_id["scripted"]
        assert provider.client is provider.client
        assert len(model.chats) == 3


def _inference() -> Any:
    from llama_stack_api import Api

    return Api.inference


async def test_an_address_with_a_user_and_a_password(state: Path) -> None:
    async with ScriptedModel() as model:
        configuration = run_configuration(state, model)
        settings = configuration["providers"]["inference"][0]["config"]
        settings["base_url"] = settings["base_url"].replace("://", "://user:c4nary@")
        async with embedded_stack(configuration) as stack:
            for stream in (True, False):
                answer = await stack.chat(ChatRequest("scripted/scripted", QUESTION, stream=stream))
                assert "".join([piece.text async for piece in answer]) == "A scripted answer."
        assert {chat.headers["authorization"] for chat in model.chats} == {"Basic dXNlcjpjNG5hcnk="}


async def test_text_and_usage_are_the_same_streamed_or_not(state: Path) -> None:
    async with ScriptedModel() as model, embedded_stack(run_configuration(state, model)) as stack:
        model.default(Reply("Two nodes run.", usage=Usage(40, 3)))
        answers = []
        for stream in (True, False):
            pieces = [
                piece
                async for piece in await stack.chat(ChatRequest("scripted/scripted", QUESTION, stream=stream))
            ]
            text = "".join(piece.text for piece in pieces)
            usage = [
                (piece.input_tokens, piece.output_tokens)
                for piece in pieces
                if piece.input_tokens is not None
            ]
            reasons = [piece.finish_reason for piece in pieces if piece.finish_reason]
            answers.append((text, usage, reasons))
        assert answers[0] == answers[1] == ("Two nodes run.", [(40, 3)], ["stop"])


async def test_closing_the_answer_closes_the_connection(state: Path) -> None:
    async with ScriptedModel() as model, embedded_stack(run_configuration(state, model)) as stack:
        reply = model.queue(Reply("one two three", hang_at=1))
        answer = await stack.chat(ChatRequest("scripted/scripted", QUESTION, stream=True))
        await anext(answer)
        await answer.aclose()
        await reply.client_gone.wait()


async def test_two_stacks_live_in_one_process(state: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    other_state = tmp_path_factory.mktemp("other")
    (other_state / "stack").mkdir()
    async with (
        ScriptedModel(models=["m1"]) as first,
        ScriptedModel(models=["m2"]) as second,
        embedded_stack(run_configuration(state, first)) as one,
        embedded_stack(run_configuration(other_state, second)) as two,
    ):
        for stack, model, name in ((one, first, "m1"), (two, second, "m2"), (one, first, "m1")):
            names = {item.name for item in await stack.models()}
            assert names & {"m1", "m2"} == {name}
            async for _ in await stack.chat(ChatRequest(f"scripted/{name}", QUESTION, stream=False)):
                pass
            assert model.chats


async def test_nothing_of_a_question_is_kept_twice(state: Path) -> None:
    async with ScriptedModel() as model, embedded_stack(run_configuration(state, model)) as stack:
        async for _ in await stack.chat(ChatRequest("scripted/scripted", QUESTION, stream=False)):
            pass
        assert stack.client.impls[_inference()].store is None


async def test_wrong_settings_of_a_provider_are_told_line_by_line(state: Path) -> None:
    async with ScriptedModel() as model:
        configuration = run_configuration(state, model)
        configuration["providers"]["inference"] += [
            {"provider_id": "a", "provider_type": "remote::nobody", "config": {}},
            {
                "provider_id": "b",
                "provider_type": "inline::llamacpp",
                "module": "lightspeed.stack.providers.llamacpp",
                "config": {"contxt_size": 7, "parallel": 0},
            },
        ]
        with pytest.raises(ConfigurationError) as caught:
            async with embedded_stack(configuration):
                pass
    lines = caught.value.problems
    assert any("providers.inference.a" in line and "remote::nobody" in line for line in lines)
    assert any("providers.inference.b.config.contxt_size" in line for line in lines)
    assert any("providers.inference.b.config.parallel" in line for line in lines)


async def test_a_store_with_an_unknown_embedding_model_does_not_start(state: Path) -> None:
    async with ScriptedModel() as model:
        configuration = with_store(run_configuration(state, model, **knowledge(state / "knowledge")), "docs")
        configuration["registered_resources"]["models"] = []
        configuration["registered_resources"]["vector_stores"][0]["embedding_model"] = "scripted/unknown"
        with pytest.raises(StartupError, match="unknown"):
            async with embedded_stack(configuration):
                pass


async def test_knowledge_is_stored_found_replaced_and_removed(state: Path) -> None:
    async with ScriptedModel() as model:
        configuration = with_store(run_configuration(state, model, **knowledge(state / "knowledge")), "docs")
        async with embedded_stack(configuration) as stack:
            stores = stack.knowledge
            await stores.insert(
                "docs",
                [
                    NewPassage("a-0", "nodes restart", {"document_id": "a", "content_hash": "1"}),
                    NewPassage("b-0", "bananas grow", {"document_id": "b", "content_hash": "2"}),
                ],
            )
            found = await stores.search("docs", stores.question("nodes restart"), 2)
            assert [passage.metadata["document_id"] for passage in found] == ["a", "b"]
            assert 0 <= found[1].score < found[0].score <= 1
            assert await stores.documents("docs") == {"a": "1", "b": "2"}
            assert await stores.delete_documents("docs", {"a"}) == 1
            assert await stores.documents("docs") == {"b": "2"}
            assert await stores.delete_documents("docs", {"b"}) == 1
            assert await stores.documents("docs") == {}
            await stores.insert(
                "docs", [NewPassage("b-1", "bananas rot", {"document_id": "b", "content_hash": "2"})]
            )
            (found_again,) = await stores.search("docs", stores.question("bananas rot"), 5)
            assert found_again.content == "bananas rot"
            await stores.create("new", EmbeddingModel("scripted/scripted-embedding", 384))
            assert set(await stores.ids()) == {"docs", "new"}
            with pytest.raises(NotFound):
                await stores.search("nowhere", stores.question("x"), 1)
        async with embedded_stack(configuration) as stack:
            assert await stack.knowledge.documents("docs") == {"b": "2"}


async def test_what_another_process_stores_is_found_without_a_restart(state: Path) -> None:
    async with ScriptedModel() as model:
        configuration = with_store(run_configuration(state, model, **knowledge(state / "knowledge")), "docs")
        async with embedded_stack(configuration) as reader, embedded_stack(configuration) as writer:
            assert await reader.knowledge.search("docs", reader.knowledge.question("nodes"), 1) == []
            await writer.knowledge.insert("docs", [NewPassage("a-0", "nodes", {"document_id": "a"})])
            (found,) = await reader.knowledge.search("docs", reader.knowledge.question("nodes"), 1)
            assert found.content == "nodes"


async def test_run_yaml_may_change_between_two_starts(state: Path) -> None:
    """The stack itself refuses to start when a registered store or model is described otherwise."""
    async with ScriptedModel() as model:
        configuration = with_store(run_configuration(state, model, **knowledge(state / "knowledge")), "docs")
        async with embedded_stack(configuration) as stack:
            await stack.knowledge.insert("docs", [NewPassage("a-0", "nodes", {"document_id": "a"})])
        configuration["providers"]["vector_io"][0]["provider_id"] = "renamed"
        configuration["registered_resources"]["vector_stores"][0]["provider_id"] = "renamed"
        configuration["registered_resources"]["models"][0]["metadata"]["note"] = "new"
        async with embedded_stack(configuration) as stack:
            (found,) = await stack.knowledge.search("docs", stack.knowledge.question("nodes"), 1)
            assert found.content == "nodes"
            (embedding,) = [one for one in await stack.models() if one.model_type == "embedding"]
            assert embedding.metadata["note"] == "new"


async def test_the_start_prints_nothing(state: Path, capfd: pytest.CaptureFixture[str]) -> None:
    logging.getLogger("llama_stack").setLevel(logging.ERROR)
    async with ScriptedModel() as model, embedded_stack(run_configuration(state, model)):
        pass
    assert capfd.readouterr().out == ""


async def test_a_provider_that_was_away_is_asked_for_its_models_again(state: Path) -> None:
    async with ScriptedModel() as model:
        port = model.port
    back = ScriptedModel(port=port)
    back.port = port
    configuration = run_configuration(state, back)
    async with embedded_stack(configuration) as stack:
        assert await stack.models() == []
        assert stack.providers == {"scripted"}
        async with back:
            stack.watch._ended_at = 0.0
            await stack.watch.check()
            assert [item.name for item in await stack.models()] == ["scripted", "scripted-embedding"]


async def test_a_provider_that_cannot_start_is_told_once(
    state: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with ScriptedModel() as model:
        configuration = run_configuration(state, model)
        configuration["providers"]["inference"][0] = {
            "provider_id": "local",
            "provider_type": "inline::llamacpp",
            "module": "lightspeed.stack.providers.llamacpp",
            "config": {"model": str(state / "missing.gguf")},
        }
        with pytest.raises(StartupError, match=r"missing\.gguf"):
            async with embedded_stack(configuration):
                pass
    assert not [record for record in caplog.records if record.levelno >= logging.WARNING]
