"""The real service in front of a scripted model."""

import json
import signal
import sqlite3
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx

from tests.scripted_model import Reply, ScriptedModel, ToolCall, Usage
from tests.service.conftest import RunningService, configuration_files, serving


def stored_turns(service: RunningService) -> list[tuple[str, str, str]]:
    """(query, answer, status) of all turns in the database."""
    with sqlite3.connect(service.state / "lightspeed.db") as connection:
        return connection.execute(
            "SELECT query, answer, status FROM lightspeed_turns ORDER BY started_at"
        ).fetchall()


def wait_for_turns(service: RunningService, number: int) -> list[tuple[str, str, str]]:
    deadline = time.monotonic() + 30
    while len(turns := stored_turns(service)) < number:
        assert time.monotonic() < deadline, turns
        time.sleep(0.02)
    return turns


def wait_for_transcripts(service: RunningService, number: int) -> list[dict[str, object]]:
    """Transcripts follow the answer a moment later."""
    deadline = time.monotonic() + 30
    while len(files := list((service.state / "transcripts").rglob("*.json"))) < number:
        assert time.monotonic() < deadline, files
        time.sleep(0.02)
    return [json.loads(file.read_text()) for file in files]


def test_twenty_first_requests_at_once_on_fresh_databases(service: RunningService) -> None:
    with ThreadPoolExecutor(20) as pool:
        answers = list(pool.map(lambda number: service.query(f"question {number}"), range(20)))
    assert [answer.status_code for answer in answers] == [200] * 20
    assert len({answer.json()["conversation_id"] for answer in answers}) == 20
    assert len(stored_turns(service)) == 20
    assert len(wait_for_transcripts(service, 20)) == 20


def test_a_streamed_answer_has_the_events_of_the_contract(
    service: RunningService, model: ScriptedModel
) -> None:
    model.queue(Reply(["Two", " nodés"], usage=Usage(40, 2)))
    answer = service.client.post("/v1/streaming_query", json={"query": "How many?"})
    assert answer.headers["content-type"] == "text/event-stream; charset=utf-8"
    assert answer.text.isascii()
    events = [json.loads(line[6:]) for line in answer.text.split("\n\n") if line]
    start = events.pop(0)
    assert set(start["data"]) == {"conversation_id", "request_id"}
    assert events == [
        {"event": "token", "data": {"id": 0, "token": ""}},
        {"event": "token", "data": {"id": 1, "token": "Two"}},
        {"event": "token", "data": {"id": 2, "token": " nodés"}},
        {"event": "turn_complete", "data": {"id": 3, "token": "Two nodés"}},
        {
            "event": "end",
            "data": {
                "referenced_documents": [],
                "truncated": None,
                "input_tokens": 40,
                "output_tokens": 2,
            },
            "available_quotas": {},
        },
    ]


def test_tool_calls_are_streamed(service: RunningService, model: ScriptedModel) -> None:
    model.queue(Reply(tool_calls=[ToolCall("fly", {"to": "moon"}, id="c1")]))
    model.queue(Reply("No."))
    events = service.events("Fly!")
    assert [event["event"] for event in events] == [
        "start",
        "tool_call",
        "tool_result",
        "token",
        "token",
        "turn_complete",
        "end",
    ]
    assert events[1]["data"] == {"id": "c1", "name": "fly", "args": {"to": "moon"}, "type": "function_call"}
    assert events[2]["data"]["round"] == 1


def test_plain_text_is_only_text(service: RunningService, model: ScriptedModel) -> None:
    model.queue(Reply("Two nodes."))
    answer = service.client.post(
        "/v1/streaming_query", json={"query": "How many?", "media_type": "text/plain"}
    )
    assert answer.headers["content-type"] == "text/plain; charset=utf-8"
    assert answer.text == "Two nodes."


def test_tokens_arrive_while_the_model_still_speaks(service: RunningService, model: ScriptedModel) -> None:
    reply = model.queue(Reply("one two three", hang_at=2))
    seen = ""
    with service.client.stream("POST", "/v1/streaming_query", json={"query": "Count."}) as answer:
        for block in answer.iter_text():
            seen += block
            if '" two"' in seen and not reply.released.is_set():
                reply.release()
    assert '"event": "end"' in seen


def test_a_client_that_leaves_in_mid_stream_loses_nothing(
    service: RunningService, model: ScriptedModel
) -> None:
    reply = model.queue(Reply("one two three four", hang_at=2))
    with service.client.stream("POST", "/v1/streaming_query", json={"query": "Count."}) as answer:
        for block in answer.iter_text():
            if '" two"' in block:
                break
    reply.release()
    assert wait_for_turns(service, 1) == [("Count.", "one two three four", "completed")]
    (kept,) = wait_for_transcripts(service, 1)
    assert kept["llm_response"] == "one two three four"


def test_an_error_before_the_first_token_is_a_status_and_one_after_it_an_event(
    service: RunningService, model: ScriptedModel
) -> None:
    answer = service.client.post(
        "/v1/streaming_query", json={"query": "x", "provider": "scripted", "model": "m9"}
    )
    assert answer.status_code == 404
    model.queue(Reply("one two", cut_at=1))
    events = service.events("x")
    assert [event["event"] for event in events] == ["start", "token", "token", "error"]
    assert events[-1]["data"]["status_code"] in (502, 503)
    assert set(events[-1]["data"]) == {"status_code", "response", "cause"}


def test_an_interrupted_stream_ends_and_keeps_its_text(service: RunningService, model: ScriptedModel) -> None:
    model.queue(Reply("one two three", hang_at=2))
    seen = ""
    with service.client.stream("POST", "/v1/streaming_query", json={"query": "Count."}) as answer:
        for block in answer.iter_text():
            seen += block
            if '" two"' in seen and '"interrupted"' not in seen:
                request_id = json.loads(seen.split("\n\n")[0][6:])["data"]["request_id"]
                stopped = httpx.post(
                    f"{service.url}/v1/streaming_query/interrupt",
                    json={"request_id": request_id},
                    trust_env=False,
                )
                assert stopped.json() == {
                    "request_id": request_id,
                    "interrupted": True,
                    "message": "Streaming request interrupted",
                }
    assert '{"event": "interrupted", "data": {"request_id": ' in seen
    assert wait_for_turns(service, 1) == [("Count.", "one two", "interrupted")]
    again = service.client.post("/v1/streaming_query/interrupt", json={"request_id": request_id})
    assert again.status_code == 404
    bad = service.client.post("/v1/streaming_query/interrupt", json={"request_id": "abc"})
    assert bad.json()["detail"][0]["msg"] == "Value error, Improper request ID abc"


def test_a_provider_that_is_down_is_told_and_comes_back(
    service: RunningService, model: ScriptedModel
) -> None:
    model.stop()
    answer = service.query("x")
    assert answer.status_code == 503
    assert answer.json()["detail"]["response"] == "Unable to connect to Llama Stack"
    model.start()
    assert service.query("x").status_code == 200


def test_the_key_of_the_provider_is_nowhere(service: RunningService, model: ScriptedModel) -> None:
    service.query("x")
    assert model.chats[-1].headers["authorization"] == "Bearer sk-scripted-key"
    model.stop()
    answer = service.query("x")
    assert "sk-scripted" not in answer.text + service.log + service.client.get("/metrics").text


def test_liveness_answers_while_the_service_loads(tmp_path: Path, model: ScriptedModel) -> None:
    state = tmp_path / "state"
    file = configuration_files(tmp_path, state, model)
    with serving(tmp_path, "-c", str(file), state=state, wait=False) as service:
        deadline = time.monotonic() + 30
        while True:
            try:
                assert service.client.get("/liveness").status_code == 200
                break
            except httpx.TransportError:
                assert time.monotonic() < deadline
                time.sleep(0.01)
        loading = service.client.get("/readiness")
        assert loading.status_code == 503
        assert loading.json()["ready"] is False
        early = service.query("x")
        assert early.status_code == 503
        assert early.json()["detail"]["response"] == "Service is starting"
        assert early.headers["retry-after"]
        service.wait_until_ready()
        assert service.query("x").status_code == 200


def test_a_stop_lets_running_answers_end(service: RunningService, model: ScriptedModel) -> None:
    reply = model.queue(Reply("one two three", hang_at=2))
    seen = ""
    with service.client.stream("POST", "/v1/streaming_query", json={"query": "Count."}) as answer:
        for block in answer.iter_text():
            seen += block
            if '" two"' in seen and not reply.released.is_set():
                service.process.send_signal(signal.SIGTERM)
                reply.release()
    assert '"event": "end"' in seen
    assert service.stop() == -signal.SIGTERM
    assert stored_turns(service) == [("Count.", "one two three", "completed")]


def test_answers_survive_a_kill(service: RunningService) -> None:
    assert service.query("kept?").status_code == 200
    service.stop(signal.SIGKILL)
    assert stored_turns(service) == [("kept?", "A scripted answer.", "completed")]
