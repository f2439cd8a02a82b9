"""The real service as a process of its own, over real sockets, as a user would start it."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml

from lightspeed.assistant.settings import DEFAULT_TOPIC_SUMMARY_PROMPT
from tests.embedded import run_configuration
from tests.scripted_model import Reply, ScriptedModel, Usage

STARTS_WITHIN = 120


class RunningService:
    """A started service; `url` is its address, `log` what it has written so far."""

    def __init__(self, process: subprocess.Popen[bytes], port: int, state: Path, log_file: Path) -> None:
        self.process = process
        self.port = port
        self.url = f"http://127.0.0.1:{port}"
        self.state = state
        self._log_file = log_file
        self.client = httpx.Client(base_url=self.url, timeout=120, trust_env=False)

    @property
    def log(self) -> str:
        return self._log_file.read_text(errors="replace")

    def wait_until_ready(self) -> None:
        deadline = time.monotonic() + STARTS_WITHIN
        while time.monotonic() < deadline:
            if self.process.poll() is not None:
                raise AssertionError(f"the service ended with {self.process.returncode}:\n{self.log}")
            try:
                if self.client.get("/readiness").status_code == 200:
                    return
            except httpx.TransportError:
                pass
            time.sleep(0.05)
        raise AssertionError(f"the service is not ready:\n{self.log}")

    def query(self, query: str, **fields: Any) -> httpx.Response:
        return self.client.post("/v1/query", json={"query": query, **fields})

    def events(self, query: str, **fields: Any) -> list[dict[str, Any]]:
        answer = self.client.post("/v1/streaming_query", json={"query": query, **fields})
        assert answer.status_code == 200, answer.text
        return [json.loads(line.removeprefix("data: ")) for line in answer.text.splitlines() if line]

    def stop(self, number: int = signal.SIGTERM) -> int:
        if self.process.poll() is None:
            self.process.send_signal(number)
        try:
            return self.process.wait(60)
        finally:
            self.client.close()


type StartService = Callable[..., RunningService]


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def serving(
    folder: Path, *arguments: str, state: Path, wait: bool = True, **environment: str
) -> Iterator[RunningService]:
    """`lightspeed serve` with these arguments on a free port."""
    port = free_port()
    log_file = folder / f"service-{port}.log"
    variables = {**os.environ, "LIGHTSPEED_STATE": str(state), **environment}
    with log_file.open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "lightspeed", "serve", *arguments, "--port", str(port)],
            stdout=log,
            stderr=subprocess.STDOUT,
            env=variables,
            cwd=Path(__file__).parents[2],
            process_group=0,
        )
    service = RunningService(process, port, state, log_file)
    try:
        if wait:
            service.wait_until_ready()
        yield service
    finally:
        if process.poll() is None:
            process.kill()
        process.wait(30)
        service.client.close()


def asks_for_a_topic(request: dict[str, Any]) -> bool:
    return DEFAULT_TOPIC_SUMMARY_PROMPT in str(request["messages"][0]["content"])


def configuration_files(folder: Path, state: Path, model: ScriptedModel, **sections: Any) -> Path:
    """Writes both configuration files for the scripted model, which also names conversations; returns the service's own."""
    model.when(asks_for_a_topic, Reply("Scripted topic", usage=Usage(9, 2)))
    run_file = folder / "run.yaml"
    run_file.write_text(yaml.safe_dump(run_configuration(state, model)))
    configuration = {
        "name": "Test service",
        "service": {"host": "127.0.0.1"},
        "llama_stack": {"use_as_library_client": True, "library_client_config_path": str(run_file)},
        "inference": {"default_provider": "scripted", "default_model": "scripted"},
        "database": {"sqlite": {"db_path": str(state / "lightspeed.db")}},
        "user_data_collection": {
            "feedback_enabled": True,
            "feedback_storage": str(state / "feedback"),
            "transcripts_enabled": True,
            "transcripts_storage": str(state / "transcripts"),
        },
    }
    file = folder / "lightspeed-stack.yaml"
    file.write_text(yaml.safe_dump(configuration | sections))
    return file


@pytest.fixture
def model() -> Iterator[ScriptedModel]:
    with ScriptedModel() as model:
        yield model


@pytest.fixture
def service(tmp_path: Path, model: ScriptedModel) -> Iterator[RunningService]:
    """A service on fresh databases in front of the scripted model."""
    state = tmp_path / "state"
    with serving(tmp_path, "-c", str(configuration_files(tmp_path, state, model)), state=state) as service:
        yield service
