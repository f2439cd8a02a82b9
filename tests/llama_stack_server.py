"""The real Llama Stack server as a process of its own, in front of a scripted model."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, Self

import httpx
import yaml

from lightspeed.stack.environment import prepare_environment
from tests.embedded import knowledge, run_configuration, with_store
from tests.scripted_model import ScriptedModel

STARTS_WITHIN = 120
ROOT = Path(__file__).parents[1]
COMMAND = ("llama_stack.cli.llama", "stack", "run")


class LlamaStackServer:
    """`llama stack run` on a port of its own, while its `with` block runs; it can be stopped and started in there."""

    def __init__(self, state: Path, model: ScriptedModel, port: int, **sections: Any) -> None:
        """`sections` replace sections of run.yaml."""
        self.url = f"http://127.0.0.1:{port}"
        self._port = port
        self._run_file = state / "run.yaml"
        self._log_file = state / "llama-stack.log"
        (state / "stack").mkdir(parents=True, exist_ok=True)
        self._run_file.write_text(yaml.safe_dump(server_configuration(state, model) | sections))
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def log(self) -> str:
        return self._log_file.read_text(errors="replace")

    def start(self, *, wait: bool = True) -> None:
        environment = {**os.environ, "PYTHONPATH": str(ROOT)}
        prepare_environment(environment)
        # Else it takes seconds to draw each error.
        environment["LLAMA_STACK_LOG_FORMAT"] = "json"
        with self._log_file.open("ab") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", *COMMAND, str(self._run_file), "--port", str(self._port)],
                stdout=log,
                stderr=subprocess.STDOUT,
                env=environment,
                cwd=self._run_file.parent,
            )
        if wait:
            self.wait()

    def wait(self) -> None:
        """Until it answers."""
        assert self._process is not None
        deadline = time.monotonic() + STARTS_WITHIN
        while time.monotonic() < deadline:
            assert self._process.poll() is None, self.log
            try:
                if httpx.get(f"{self.url}/v1/health", trust_env=False).status_code == 200:
                    return
            except httpx.TransportError:
                pass
            time.sleep(0.05)
        raise AssertionError(f"the Llama Stack server does not answer:\n{self.log}")

    def stop(self) -> None:
        """At once, as a machine that fails."""
        process, self._process = self._process, None
        if process is not None:
            process.send_signal(signal.SIGKILL)
            process.wait(30)

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()


def server_configuration(state: Path, model: ScriptedModel) -> dict[str, Any]:
    """run.yaml with the scripted models, the store `docs`, and a place for files."""
    files = {
        "provider_id": "local",
        "provider_type": "inline::local-files",
        "module": "lightspeed.stack.providers.local_files",
        "config": {"path": str(state / "files")},
    }
    providers = {**knowledge(state / "knowledge"), "files": [files]}
    configuration = with_store(run_configuration(state, model, **providers), "docs")
    return configuration | {"server": {"host": "127.0.0.1"}}
