"""/metrics of the real service: of two workers as of one."""

import os
import re
import signal
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest

from tests.scripted_model import ScriptedModel
from tests.service.conftest import RunningService, serving
from tests.service.test_workers import ready_workers, two_workers, wait_for

CALLS = 'ls_rest_api_calls_total{path="/v1/query",status_code="200"}'
LLM_CALLS = 'ls_llm_calls_total{endpoint="/v1/query",model="scripted",provider="scripted"}'
DURATIONS = 'ls_llm_inference_duration_seconds_count{endpoint="/v1/query",model="scripted",provider="scripted",result="success"}'
DEFAULT = 'ls_provider_model_configuration{model="scripted",provider="scripted"}'
READY = "lightspeed_ready_workers"
RUNNING = 'lightspeed_turns_running{endpoint="/v1/query"}'


def samples(service: RunningService) -> dict[str, float]:
    """All samples, from whichever worker takes a new connection."""
    text = httpx.get(f"{service.url}/metrics", timeout=60, trust_env=False).raise_for_status().text
    found = (re.fullmatch(r"([a-z]\S*(?:\{.*\})?) (\S+)", line) for line in text.splitlines())
    return {match[1]: float(match[2]) for match in found if match}


def ask(service: RunningService, times: int) -> None:
    def once(_: int) -> int:
        question = {"query": "x", "generate_topic_summary": False}
        return httpx.post(f"{service.url}/v1/query", json=question, timeout=60, trust_env=False).status_code

    with ThreadPoolExecutor(4) as pool:
        assert set(pool.map(once, range(times))) == {200}


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningService]:
    folder = tmp_path_factory.mktemp("pair")
    temporary = folder / "temporary"
    temporary.mkdir()
    with (
        ScriptedModel() as model,
        serving(
            folder, "-c", str(two_workers(folder, model)), state=folder / "state", TMPDIR=str(temporary)
        ) as service,
    ):
        wait_for(lambda: len(ready_workers(service)) == 2, service)
        yield service


def folder_of(service: RunningService, temporary: Path | None = None) -> Path:
    (folder,) = (temporary or service.state.parent / "temporary").glob("lightspeed-metrics-*")
    return folder


def paused(service: RunningService, pid: int) -> dict[str, float]:
    """What the other worker tells while this one does nothing."""
    os.kill(pid, signal.SIGSTOP)
    try:
        return samples(service)
    finally:
        os.kill(pid, signal.SIGCONT)


def test_every_worker_tells_what_all_have_done_also_the_dead(pair: RunningService) -> None:
    ask(pair, 40)
    # The last one is counted as ended a moment after its answer.
    wait_for(lambda: samples(pair)[RUNNING] == 0, pair)
    (_, one), (_, other) = ready_workers(pair)
    for pid in (one, other):
        told = paused(pair, pid)
        assert told[CALLS] == told[LLM_CALLS] == told[DURATIONS] == 40
        assert told[DEFAULT] == 1
        assert told[READY] == 2
        assert told[RUNNING] == 0
        assert told['lightspeed_turns_total{endpoint="/v1/query",outcome="completed"}'] == 40
        assert any(name.startswith("python_info{") for name in told)
    used = told["process_cpu_seconds_total"]
    assert told["process_resident_memory_bytes"] > 100e6

    os.kill(other, signal.SIGKILL)
    wait_for(lambda: len(ready_workers(pair)) == 3, pair)
    ask(pair, 5)
    for _ in range(5):
        told = samples(pair)
        assert told[CALLS] == told[LLM_CALLS] == told[DURATIONS] == 45
        assert told[READY] == 2
        assert told["process_cpu_seconds_total"] >= used
    # Files do not become more and more: those of the living, and one of each kind for all the dead.
    alive = {str(pid) for _, pid in ready_workers(pair)} - {str(other)}
    assert {file.stem.rpartition("_")[2] for file in folder_of(pair).glob("*.db")} == {"0", *alive}


def test_the_folder_goes_with_the_service(pair: RunningService) -> None:
    folder = folder_of(pair)
    assert pair.stop() == -signal.SIGTERM
    assert not folder.exists()


def test_the_folder_goes_after_a_killed_parent(tmp_path: Path, model: ScriptedModel) -> None:
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    file, state = two_workers(tmp_path, model), tmp_path / "state"
    with serving(tmp_path, "-c", str(file), state=state, wait=False, TMPDIR=str(temporary)) as service:
        wait_for(lambda: "Start: " in service.log, service)
        assert folder_of(service, temporary).exists()
        service.process.kill()
        service.process.wait()
        wait_for(lambda: not list(temporary.glob("lightspeed-metrics-*")), service)


def test_one_worker_and_head(service: RunningService) -> None:
    ask(service, 3)
    told = samples(service)
    assert told[CALLS] == 3
    assert told[READY] == told[DEFAULT] == 1
    answer = service.client.head("/metrics")
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "text/plain; version=1.0.0; charset=utf-8"
    assert answer.content == b""
    assert (
        samples(service)['lightspeed_http_requests_total{method="HEAD",path="/metrics",status_code="200"}']
        == 1
    )
