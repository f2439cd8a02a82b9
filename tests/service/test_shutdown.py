"""A stop while many streams run."""

import json
import signal
import sqlite3
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.scripted_model import Reply, ScriptedModel
from tests.service.conftest import RunningService, configuration_files, serving

STREAMS = 20


def is_slow(request: dict[str, Any]) -> bool:
    return "slow" in str(request["messages"][-1]["content"])


def read(service: RunningService, number: int) -> list[dict[str, Any]]:
    question = {"query": f"{'slow' if number % 2 else 'endless'} {number}", "generate_topic_summary": False}
    with httpx.Client(base_url=service.url, timeout=60, trust_env=False) as client:
        answer = client.post("/v1/streaming_query", json=question)
    return [json.loads(line.removeprefix("data: ")) for line in answer.text.splitlines() if line]


def test_twenty_streams_end_cleanly_within_the_limit(tmp_path: Path) -> None:
    """Half of them finish after the signal, half never would: those are interrupted, kept, and say so."""
    state = tmp_path / "state"
    with ScriptedModel() as model:
        model.when(is_slow, Reply("one two three four", delay_between=1.0))
        model.default(Reply("one two three", hang_at=2))
        configuration = configuration_files(tmp_path, state, model)
        with serving(tmp_path, "-c", str(configuration), state=state) as service:
            with ThreadPoolExecutor(STREAMS) as pool:
                streams = [pool.submit(read, service, number) for number in range(STREAMS)]
                deadline = time.monotonic() + 30
                while len(model.requests) < STREAMS + 1 and time.monotonic() < deadline:
                    time.sleep(0.05)
                time.sleep(1.0)
                stopped = time.monotonic()
                service.process.send_signal(signal.SIGTERM)
                time.sleep(0.5)
                with pytest.raises(httpx.TransportError):
                    service.client.get("/liveness")
                ends = [[event["event"] for event in stream.result(60)] for stream in streams]
            assert service.process.wait(60) == -signal.SIGTERM
            took = time.monotonic() - stopped
            assert "Traceback" not in service.log
    assert all(events[0] == "start" for events in ends)
    assert [events[-1] for events in ends] == ["interrupted", "end"] * (STREAMS // 2)
    assert took < 30
    with sqlite3.connect(state / "lightspeed.db") as connection:
        stored = dict(connection.execute("SELECT query, answer FROM lightspeed_turns").fetchall())
    connection.close()
    assert len(stored) == STREAMS
    for number in range(STREAMS):
        name = f"{'slow' if number % 2 else 'endless'} {number}"
        assert stored[name] == ("one two three four" if number % 2 else "one two")


@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 0), (signal.SIGTERM, -signal.SIGTERM)])
def test_a_second_signal_does_not_wait(tmp_path: Path, number: signal.Signals, status: int) -> None:
    with ScriptedModel(Reply("one two three", hang_at=2)) as model:
        configuration = configuration_files(tmp_path, tmp_path / "state", model)
        with (
            serving(tmp_path, "-c", str(configuration), state=tmp_path / "state") as service,
            service.client.stream("POST", "/v1/streaming_query", json={"query": "Count."}) as answer,
        ):
            pieces = answer.iter_text()
            while '" two"' not in next(pieces):
                pass
            service.process.send_signal(number)
            while "Waiting for connections" not in service.log:
                assert service.process.poll() is None, service.log
                time.sleep(0.05)
            service.process.send_signal(number)
            with pytest.raises(httpx.TransportError):
                list(pieces)
            assert service.process.wait(60) == status
            assert "Traceback" not in service.log
