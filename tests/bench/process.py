"""Child processes: started, waited for, measured, and ended whatever happens."""

import http.client
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Self

_REPOSITORY = Path(__file__).resolve().parents[2]
_TICKS = os.sysconf("SC_CLK_TCK")
_POLL = 0.01


class DidNotStartError(Exception):
    """The child ended, or did not answer in time; the message holds the end of its log."""


class Child:
    """`python -m MODULE ARGUMENTS` in a session of its own, so that its own children end with it."""

    def __init__(
        self, name: str, arguments: Sequence[str], *, port: int, log: Path, environment: Mapping[str, str]
    ) -> None:
        self.name = name
        self.port = port
        self._arguments = arguments
        self._log = log
        self._environment = {**os.environ, **environment}
        self._spawned = 0.0
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        with self._log.open("ab") as log:
            self._spawned = time.perf_counter()
            self._process = subprocess.Popen(
                [sys.executable, "-m", *self._arguments],
                cwd=_REPOSITORY,
                env=self._environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        return self

    def __exit__(self, *_: object) -> None:
        process = self._process
        if process is None:
            return
        process.terminate()
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            pass
        finally:
            _kill_group(process.pid)
            process.wait()

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    def wait_for(self, path: str, timeout: float) -> float:
        """Seconds from the spawn until `path` answers with 200, asked every 10 ms."""
        while time.perf_counter() - self._spawned < timeout:
            if get_status(self.port, path) == 200:
                return time.perf_counter() - self._spawned
            if self._process is not None and self._process.poll() is not None:
                raise DidNotStartError(f"{self.name} ended with {self._process.returncode}\n{self._tail()}")
            time.sleep(_POLL)
        raise DidNotStartError(f"{self.name}: no 200 from {path} in {timeout:g} s\n{self._tail()}")

    def resident(self) -> int:
        """Bytes of resident memory of the child and its children (VmRSS)."""
        return sum(_status_kib(pid) * 1024 for pid in _tree(self.pid))

    def cpu(self) -> float:
        """Seconds of processor time that the child and its children have used."""
        return sum(_cpu_ticks(pid) for pid in _tree(self.pid)) / _TICKS

    def maps(self, word: str) -> bool:
        """Whether a file with `word` in its path is mapped into the child's memory."""
        return any(word in Path(f"/proc/{pid}/maps").read_text() for pid in _tree(self.pid))

    def _tail(self) -> str:
        return "\n".join(self._log.read_text(errors="replace").splitlines()[-30:])


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
        return port


def get_status(port: int, path: str) -> int | None:
    """The status of GET `path`; None if nobody answers."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
    try:
        connection.request("GET", path)
        return connection.getresponse().status
    except (OSError, http.client.HTTPException):
        return None
    finally:
        connection.close()


def _kill_group(pid: int) -> None:
    with suppress(ProcessLookupError):
        os.killpg(pid, signal.SIGKILL)


def _tree(pid: int) -> list[int]:
    """The process and its descendants; none of it if it has ended."""
    try:
        tasks = list(Path(f"/proc/{pid}/task").iterdir())
        children = [int(child) for task in tasks for child in (task / "children").read_text().split()]
    except (FileNotFoundError, ProcessLookupError):
        return []
    return [pid, *(descendant for child in children for descendant in _tree(child))]


def _status_kib(pid: int) -> int:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmRSS:"))


def _cpu_ticks(pid: int) -> int:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return int(fields[11]) + int(fields[12])
