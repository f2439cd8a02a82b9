"""The real service in several worker processes."""

import os
import re
import signal
import socket
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.scripted_model import Reply, ScriptedModel
from tests.service.conftest import STARTS_WITHIN, RunningService, configuration_files, serving

READY = re.compile(r"Worker (\d+) \(pid (\d+)\) is ready")
CLIENTS = 4


def two_workers(folder: Path, model: ScriptedModel, **sections: Any) -> Path:
    service = {"host": "127.0.0.1", "workers": 2}
    return configuration_files(folder, folder / "state", model, service=service, **sections)


def wait_for(condition: Callable[[], object], service: RunningService) -> None:
    deadline = time.monotonic() + STARTS_WITHIN
    while not condition():
        assert time.monotonic() < deadline, service.log
        time.sleep(0.02)


def ready_workers(service: RunningService) -> list[tuple[str, int]]:
    """(index, pid) of every worker that has become ready until now, also of those that are gone."""
    return [(index, int(pid)) for index, pid in READY.findall(service.log)]


def children(pid: int) -> list[int]:
    """The workers of this parent, also those that are still loading."""
    found = map(int, Path(f"/proc/{pid}/task/{pid}/children").read_text().split())
    return [child for child in found if "spawn_main" in command(child)]


def command(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/cmdline").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return ""


def exists(pid: int) -> bool:
    try:
        return "\nState:\tZ" not in Path(f"/proc/{pid}/status").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return False


def is_free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
        return True


@contextmanager
def new_connections(service: RunningService) -> Iterator[list[int]]:
    """Clients that ask over and over whether the service is ready; the answers' statuses, 0 for a lost connection."""
    statuses: list[int] = []
    over = threading.Event()

    def ask() -> None:
        while not over.wait(0.01):
            connection = HTTPConnection("127.0.0.1", service.port, timeout=60)
            try:
                connection.request("GET", "/readiness")
                statuses.append(connection.getresponse().status)
            except (OSError, HTTPException):
                statuses.append(0)
            finally:
                connection.close()

    with ThreadPoolExecutor(CLIENTS) as pool:
        asking = [pool.submit(ask) for _ in range(CLIENTS)]
        try:
            yield statuses
        finally:
            over.set()
    for future in asking:
        future.result()


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningService]:
    """Two workers that are ready, on fresh databases."""
    folder = tmp_path_factory.mktemp("pair")
    with (
        ScriptedModel() as model,
        serving(folder, "-c", str(two_workers(folder, model)), state=folder / "state") as service,
    ):
        wait_for(lambda: len(ready_workers(service)) == 2, service)
        yield service


def test_each_worker_answers_questions(pair: RunningService) -> None:
    (first, one), (second, other) = ready_workers(pair)
    assert (first, second) == ("0", "1")
    for paused in (one, other):
        os.kill(paused, signal.SIGSTOP)
        try:
            for _ in range(5):
                answer = httpx.post(f"{pair.url}/v1/query", json={"query": "x"}, timeout=60)
                assert answer.status_code == 200, answer.text
        finally:
            os.kill(paused, signal.SIGCONT)


def test_a_worker_that_is_killed_is_replaced_while_the_other_answers(pair: RunningService) -> None:
    before = ready_workers(pair)
    index, victim = before[-1]
    with new_connections(pair) as statuses:
        wait_for(lambda: len(statuses) > 20, pair)
        os.kill(victim, signal.SIGKILL)
        wait_for(lambda: len(ready_workers(pair)) > len(before), pair)
    assert f"Worker {index} (pid {victim}) ended: SIGKILL" in pair.log
    assert ready_workers(pair)[-1][0] == index
    # Lost is what the killed worker was answering; nobody is answered by one that still loads.
    assert set(statuses) <= {200, 0}
    assert statuses.count(0) <= CLIENTS


def test_a_worker_that_cannot_start_again_is_tried_until_it_can(pair: RunningService) -> None:
    before = ready_workers(pair)
    stack = pair.state / "stack"
    away = stack.rename(pair.state / "away")
    stack.touch()
    try:
        os.kill(before[-1][1], signal.SIGKILL)
        wait_for(
            lambda: f"Worker {before[-1][0]} cannot start: the embedded stack cannot start" in pair.log, pair
        )
        assert httpx.get(f"{pair.url}/readiness").status_code == 200
    finally:
        stack.unlink()
        away.rename(stack)
    wait_for(lambda: len(ready_workers(pair)) > len(before), pair)


def test_hanging_up_replaces_each_worker_without_a_gap(pair: RunningService) -> None:
    before = ready_workers(pair)
    old = children(pair.process.pid)
    with new_connections(pair) as statuses:
        pair.process.send_signal(signal.SIGHUP)
        wait_for(lambda: len(ready_workers(pair)) == len(before) + 2, pair)
        wait_for(lambda: not any(map(exists, old)), pair)
    assert sorted(index for index, _ in ready_workers(pair)[-2:]) == ["0", "1"]
    assert set(statuses) <= {200, 0}
    assert statuses.count(0) <= 2 * CLIENTS


def test_a_stop_lets_running_answers_end(tmp_path: Path, model: ScriptedModel) -> None:
    state = tmp_path / "state"
    reply = model.queue(Reply("one two three", hang_at=2))
    seen = ""
    with serving(tmp_path, "-c", str(two_workers(tmp_path, model)), state=state) as service:
        with service.client.stream("POST", "/v1/streaming_query", json={"query": "Count."}) as answer:
            for block in answer.iter_text():
                seen += block
                if '" two"' in seen and not reply.released.is_set():
                    workers = children(service.process.pid)
                    service.process.send_signal(signal.SIGTERM)
                    reply.release()
        assert '"event": "end"' in seen
        assert service.process.wait(60) == -signal.SIGTERM
        assert not any(map(exists, workers))
        assert is_free(service.port)
        assert "Traceback" not in service.log
    with sqlite3.connect(state / "lightspeed.db") as connection:
        stored = connection.execute("SELECT query, answer, status FROM lightspeed_turns").fetchall()
    assert stored == [("Count.", "one two three", "completed")]


def test_workers_end_after_their_parent(tmp_path: Path, model: ScriptedModel) -> None:
    reply = model.queue(Reply("one two three", hang_at=2))
    seen = ""
    file = two_workers(tmp_path, model)
    with serving(tmp_path, "-c", str(file), state=tmp_path / "state") as service:
        with service.client.stream("POST", "/v1/streaming_query", json={"query": "Count."}) as answer:
            for block in answer.iter_text():
                seen += block
                if '" two"' in seen and not reply.released.is_set():
                    workers = children(service.process.pid)
                    service.process.kill()
                    service.process.wait()
                    reply.release()
        assert '"event": "end"' in seen
        wait_for(lambda: is_free(service.port), service)
        wait_for(lambda: not any(map(exists, workers)), service)
        assert workers


def test_a_second_signal_ends_it_at_once(tmp_path: Path, model: ScriptedModel) -> None:
    model.queue(Reply("one two three", hang_at=2))
    file = two_workers(tmp_path, model)
    with serving(tmp_path, "-c", str(file), state=tmp_path / "state") as service:
        with service.client.stream("POST", "/v1/streaming_query", json={"query": "Count."}) as answer:
            pieces = answer.iter_text()
            while '" two"' not in next(pieces):
                pass
            workers = children(service.process.pid)
            service.process.send_signal(signal.SIGINT)
            wait_for(lambda: "Shutting down" in service.log, service)
            service.process.send_signal(signal.SIGINT)
            with pytest.raises(httpx.TransportError):
                list(pieces)
        assert service.process.wait(60) == 0
        assert not any(map(exists, workers))


def test_an_interrupt_of_the_terminal_in_the_first_moment(tmp_path: Path, model: ScriptedModel) -> None:
    file = two_workers(tmp_path, model)
    with serving(tmp_path, "-c", str(file), state=tmp_path / "state", wait=False) as service:
        wait_for(lambda: "listens on" in service.log and children(service.process.pid), service)
        os.killpg(service.process.pid, signal.SIGINT)
        assert service.process.wait(60) == 0
        assert "Traceback" not in service.log


@pytest.mark.parametrize(("part", "status"), [("database", 3), ("provider", 1)])
def test_a_service_that_cannot_start_says_so_once(
    tmp_path: Path, model: ScriptedModel, part: str, status: int
) -> None:
    state = tmp_path / "state"
    if part == "database":
        file = two_workers(tmp_path, model, database={"sqlite": {"db_path": str(tmp_path)}})
    else:
        file = two_workers(tmp_path, model)
        run_file = tmp_path / "run.yaml"
        run_file.write_text(run_file.read_text().replace("remote::openai", "remote::nothing"))
    with serving(tmp_path, "-c", str(file), state=state, wait=False) as service:
        assert service.process.wait(60) == status, service.log
        (complaint,) = [line for line in service.log.splitlines() if line.startswith("lightspeed: ")]
        assert (str(tmp_path) if part == "database" else "remote::nothing") in complaint
        assert "Traceback" not in service.log


def test_a_taken_port(tmp_path: Path, model: ScriptedModel) -> None:
    file = two_workers(tmp_path, model)
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        done = subprocess.run(
            [sys.executable, "-m", "lightspeed", "serve", "-c", str(file), "--port", port],
            capture_output=True,
            env={**os.environ, "LIGHTSPEED_STATE": str(tmp_path / "state")},
            cwd=Path(__file__).parents[2],
            text=True,
            timeout=60,
        )
    assert done.returncode == 1, done.stderr
    assert done.stderr == f"lightspeed: cannot listen on 127.0.0.1:{port}: another program uses this port\n"
