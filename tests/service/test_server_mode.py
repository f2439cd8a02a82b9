"""The real service in front of a real Llama Stack server."""

import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.llama_stack_server import LlamaStackServer
from tests.scripted_model import Reply, ScriptedModel, ToolCall, Usage
from tests.service.conftest import RunningService, configuration_files, free_port, serving

AWAY = "Unable to connect to Llama Stack"
COMES_BACK_WITHIN = 20


@pytest.fixture(scope="module")
def scripted() -> Iterator[ScriptedModel]:
    with ScriptedModel() as model:
        yield model


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, scripted: ScriptedModel) -> Iterator[LlamaStackServer]:
    """Not started yet: the service comes first."""
    server = LlamaStackServer(tmp_path_factory.mktemp("stack"), scripted, free_port())
    yield server
    server.stop()


def server_mode(folder: Path, state: Path, model: ScriptedModel, url: str, **keys: Any) -> Path:
    llama_stack = {"use_as_library_client": False, "url": url, **keys}
    return configuration_files(
        folder,
        state,
        model,
        llama_stack=llama_stack,
        rag={"inline": ["manuals"]},
        byok_rag=[{"rag_id": "manuals", "vector_db_id": "docs", "db_path": "/nowhere/on/this/machine"}],
    )


@pytest.fixture(scope="module")
def house(
    tmp_path_factory: pytest.TempPathFactory, scripted: ScriptedModel, server: LlamaStackServer
) -> Iterator[RunningService]:
    """A service that was started before its server, which is there now."""
    folder = tmp_path_factory.mktemp("house")
    state = folder / "state"
    configuration = server_mode(
        folder, state, scripted, server.url, allow_degraded_mode=True, max_retries=1, retry_delay=1
    )
    with serving(folder, "-c", str(configuration), state=state, wait=False) as service:
        wait_until(lambda: "Ready after" in service.log, service)
        refuses(service)
        server.start()
        wait_until(lambda: service.client.get("/readiness").status_code == 200, service)
        yield service


def wait_until(is_so: Callable[[], bool], service: RunningService, within: float = 60) -> None:
    deadline = time.monotonic() + within
    while not is_so():
        assert time.monotonic() < deadline, service.log
        assert service.process.poll() is None, service.log
        time.sleep(0.05)


def refuses(service: RunningService) -> None:
    """Whatever needs the stack says that it is away; all else works."""
    assert service.client.get("/liveness").status_code == 200
    assert service.client.get("/v1/config").status_code == 200
    assert service.client.get("/metrics").status_code == 200
    readiness = service.client.get("/readiness")
    assert readiness.status_code == 503
    body = readiness.json()
    assert (body["ready"], body["reason"]) == (False, "Providers not healthy: unknown")
    (unknown,) = body["providers"]
    assert (unknown["provider_id"], unknown["status"]) == ("unknown", "Error")
    assert unknown["message"].startswith("Failed to initialize health check: ")
    answers = [
        service.query("x"),
        service.client.post("/v1/streaming_query", json={"query": "x"}),
        *(service.client.get(path) for path in ("/v1/models", "/v1/info", "/v1/shields", "/v1/providers")),
        service.client.get("/v1/rags/manuals"),
        service.client.post("/v1/vector-stores", json={"name": "mine"}),
        service.client.post("/v1/files", files={"file": ("a.txt", b"text")}),
    ]
    for answer in answers:
        assert answer.status_code == 503, (answer.request.url.path, answer.text)
        detail = answer.json()["detail"]
        assert detail["response"] == AWAY
        assert detail["cause"]


def test_questions_are_answered_and_streamed(house: RunningService, scripted: ScriptedModel) -> None:
    scripted.queue(Reply("Two nodes.", usage=Usage(40, 3)))
    body = house.query("How many?").json()
    assert (body["response"], body["input_tokens"], body["output_tokens"]) == ("Two nodes.", 40, 3)
    scripted.queue(Reply(["Two", " nodés"], usage=Usage(40, 2)))
    events = house.events("How many?")
    assert [event["data"]["token"] for event in events if event["event"] == "token"] == ["", "Two", " nodés"]
    assert (events[-1]["event"], events[-1]["data"]["output_tokens"]) == ("end", 2)


def test_tool_calls_go_through_the_server(house: RunningService, scripted: ScriptedModel) -> None:
    scripted.queue(Reply(tool_calls=[ToolCall("fly", {"to": "moon"}, id="c1")]))
    scripted.queue(Reply("No."))
    events = house.events("Fly!")
    calls = [event["data"] for event in events if event["event"] == "tool_call"]
    assert calls == [{"id": "c1", "name": "fly", "args": {"to": "moon"}, "type": "function_call"}]


def test_tokens_arrive_while_the_model_still_speaks(house: RunningService, scripted: ScriptedModel) -> None:
    reply = scripted.queue(Reply("one two three", hang_at=2))
    seen = ""
    with house.client.stream("POST", "/v1/streaming_query", json={"query": "Count."}) as answer:
        for block in answer.iter_text():
            seen += block
            if '" two"' in seen and not reply.released.is_set():
                reply.release()
    assert '"event": "end"' in seen


def test_what_the_server_has_is_listed(house: RunningService) -> None:
    models = {model["identifier"]: model for model in house.client.get("/v1/models").json()["models"]}
    assert models["scripted/scripted"] == {
        "identifier": "scripted/scripted",
        "metadata": {},
        "api_model_type": "llm",
        "provider_id": "scripted",
        "type": "model",
        "provider_resource_id": "scripted",
        "model_type": "llm",
    }
    assert house.client.get("/v1/info").json()["llama_stack_version"] == "0.7.3"
    providers = house.client.get("/v1/providers").json()["providers"]
    assert providers["inference"] == [{"provider_id": "scripted", "provider_type": "remote::openai"}]
    provider = house.client.get("/v1/providers/scripted")
    assert "sk-scripted-key" not in provider.text
    assert house.client.get("/v1/providers/nobody").status_code == 404
    assert house.client.get("/v1/shields").json() == {"shields": []}
    assert house.client.get("/v1/rags").json()["rags"] == ["manuals"]
    assert 'model="scripted"' in house.client.get("/metrics").text


def test_an_error_of_the_provider_is_told(house: RunningService, scripted: ScriptedModel) -> None:
    missing = house.query("x", provider="scripted", model="none")
    assert missing.status_code == 404
    scripted.queue(Reply("one two", cut_at=1))
    events = house.events("x")
    assert events[-1]["event"] == "error"


def test_files_become_knowledge_of_their_owner(house: RunningService, scripted: ScriptedModel) -> None:
    store = house.client.post("/v1/vector-stores", json={"name": "mine", "metadata": {"a": "b"}})
    assert store.status_code == 200, store.text
    store_id = store.json()["id"]
    assert house.client.get("/v1/vector-stores").json()["data"][0]["id"] == store_id
    file = house.client.post("/v1/files", files={"file": ("sails.txt", b"A sail is reefed before the wind.")})
    assert file.status_code == 200, file.text
    path = f"/v1/vector-stores/{store_id}/files"
    attached = house.client.post(path, json={"file_id": file.json()["id"], "attributes": {"book": "sails"}})
    assert attached.status_code == 200, attached.text
    wait_until(
        lambda: house.client.get(f"{path}/{file.json()['id']}").json()["status"] == "completed", house, 30
    )
    found = house.client.post(
        f"/v1/vector-stores/{store_id}/search", json={"query": "When is a sail reefed?"}
    )
    assert "reefed" in found.json()["data"][0]["content"][0]["text"]
    scripted.queue(Reply(tool_calls=[ToolCall("file_search", {"query": "sail reefed"}, id="c1")]))
    scripted.queue(Reply("Before the wind."))
    body = house.query("When?", vector_store_ids=[store_id]).json()
    assert any("reefed" in chunk["content"] for chunk in body["rag_chunks"])
    gone = house.client.delete(f"/v1/vector-stores/{store_id}")
    assert gone.json()["deleted"] is True
    assert house.client.get(f"/v1/vector-stores/{store_id}").status_code == 404
    assert house.client.delete(f"/v1/files/{file.json()['id']}").json()["deleted"] is True


@pytest.mark.parametrize(
    ("method", "path", "status", "response"),
    [
        ("GET", "/v1/rags/nothing", 404, "Rag not found"),
        ("GET", "/v1/vector-stores/nothing", 404, "Vector Store not found"),
        ("GET", "/v1/vector-stores/vs_nothing", 404, "Vector Store not found"),
        ("GET", "/v1/vector-stores/docs/files/file-x", 404, "File not found"),
    ],
)
def test_what_is_not_there(house: RunningService, method: str, path: str, status: int, response: str) -> None:
    answer = house.client.request(method, path)
    assert (answer.status_code, answer.json()["detail"]["response"]) == (status, response)


def test_a_store_that_cannot_be_made(house: RunningService) -> None:
    for wrong in (
        {"embedding_model": "scripted/scripted"},
        {"embedding_dimension": 7},
    ):
        answer = house.client.post("/v1/vector-stores", json={"name": "x", **wrong})
        assert answer.status_code == 400, answer.text


def test_documents_are_read_into_a_store_of_the_server(
    house: RunningService, scripted: ScriptedModel, server: LlamaStackServer, tmp_path: Path
) -> None:
    from tests.service.test_knowledge import lightspeed

    (tmp_path / "kettle.md").write_text("# Kettle\n\nThe kettle must be descaled every forty days.\n")
    configuration = server_mode(tmp_path, tmp_path / "state", scripted, server.url)
    done = lightspeed(
        configuration, tmp_path / "state", "ingest", str(tmp_path / "kettle.md"), "--store", "docs"
    )
    assert done.returncode == 0, done.stderr
    assert "1 documents added" in done.stderr
    scripted.queue(Reply("Every forty days."))
    body = house.query("How often must the kettle be descaled?").json()
    assert body["rag_chunks"][0]["source"] == "manuals"
    assert "forty days" in body["rag_chunks"][0]["content"]


def test_the_server_goes_away_and_comes_back(
    house: RunningService, server: LlamaStackServer, scripted: ScriptedModel
) -> None:
    reply = scripted.queue(Reply("one two three", hang_at=2))
    seen = ""
    with house.client.stream("POST", "/v1/streaming_query", json={"query": "Count."}) as answer:
        for block in answer.iter_text():
            seen += block
            if '" two"' in seen:
                server.stop()
    reply.release()
    assert '"event": "error"' in seen
    assert '"status_code": 503' in seen
    refuses(house)
    server.start()
    wait_until(lambda: house.query("x").status_code == 200, house, COMES_BACK_WITHIN)
    assert house.client.get("/readiness").status_code == 200
    assert house.client.get("/v1/models").status_code == 200
    assert house.stop(signal.SIGTERM) == -signal.SIGTERM


def test_without_the_server_the_service_does_not_start(tmp_path: Path, model: ScriptedModel) -> None:
    url = f"http://user:xyzzy@127.0.0.1:{free_port()}"
    configuration = server_mode(tmp_path, tmp_path / "state", model, url, max_retries=2, retry_delay=1)
    with serving(tmp_path, "-c", str(configuration), state=tmp_path / "state", wait=False) as service:
        assert service.process.wait(60) == 3
        (complaint,) = [line for line in service.log.splitlines() if line.startswith("lightspeed: ")]
        assert "cannot be reached (2 attempts)" in complaint
        assert "xyzzy" not in service.log
