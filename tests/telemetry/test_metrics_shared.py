"""Real processes that count in one folder, and what becomes of it when they end or are killed."""

import logging
import os
import re
import stat
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from lightspeed.errors import StartupError
from lightspeed.telemetry.metrics_shared import SharedFolder

WORKER = """
import sys
from pathlib import Path
from lightspeed.telemetry.metrics import Face, Metrics

metrics = Metrics(Path(sys.argv[1]))
metrics.models({("p", "m"), ("p", "other")}, ("p", "m"))
metrics.ready(True)
metrics.turns.waiting(int(sys.argv[2]))
for _ in range(int(sys.argv[2])):
    metrics.turns.began(Face.QUERY)
    metrics.response("POST", "/v1/query", 200, 0.3)
for line in sys.stdin:
    print(metrics.exposition().decode(), "EOF", sep="\\n", flush=True)
"""


class Worker:
    def __init__(self, folder: SharedFolder, requests: int) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-c", WORKER, str(folder.path), str(requests)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=Path(__file__).parents[2],
        )
        self.folder = folder
        self.tell()

    def tell(self) -> dict[str, float]:
        """All samples by name and labels."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write("tell\n")
        self.process.stdin.flush()
        samples = {}
        for line in iter(self.process.stdout.readline, "EOF\n"):
            assert line, "the process has ended"
            if match := re.fullmatch(r"([a-z]\S*) (\S+)\n", line):
                samples[match[1]] = float(match[2])
        return samples

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()
        for stream in (self.process.stdin, self.process.stdout):
            assert stream is not None
            stream.close()
        self.folder.bury(self.process.pid)


@contextmanager
def working(folder: SharedFolder, *requests: int) -> Iterator[list[Worker]]:
    workers = [Worker(folder, count) for count in requests]
    try:
        yield workers
    finally:
        for worker in workers:
            if worker.process.poll() is None:
                worker.kill()


CALLS = 'ls_rest_api_calls_total{path="/v1/query",status_code="200"}'
RUNNING = 'lightspeed_turns_running{endpoint="/v1/query"}'
DURATION = "ls_response_duration_seconds"
DEFAULT = 'ls_provider_model_configuration{model="m",provider="p"}'


def test_each_worker_tells_the_sum_of_all() -> None:
    with SharedFolder.temporary() as folder, working(folder, 2, 5) as workers:
        for told in [worker.tell() for worker in workers]:
            assert told[CALLS] == 7
            assert told[RUNNING] == 7
            assert told["lightspeed_ready_workers"] == 2
            assert told["lightspeed_turns_waiting"] == 5
            assert told[DEFAULT] == 1
            assert told[DEFAULT.replace('"m"', '"other"')] == 0
            assert told[f'{DURATION}_count{{path="/v1/query"}}'] == 7
            assert told[f'{DURATION}_sum{{path="/v1/query"}}'] == pytest.approx(2.1)
            assert told[f'{DURATION}_bucket{{le="0.1",path="/v1/query"}}'] == 0
            assert told[f'{DURATION}_bucket{{le="0.5",path="/v1/query"}}'] == 7
            assert any(name.startswith("python_info") for name in told)


def test_what_the_dead_have_counted_stays_and_their_gauges_go() -> None:
    with SharedFolder.temporary() as folder, working(folder, 2) as (survivor,):
        for killed in range(1, 4):
            with working(folder, 5) as (victim,):
                assert survivor.tell()["lightspeed_ready_workers"] == 2
                assert victim.tell()["lightspeed_ready_workers"] == 2
            told = survivor.tell()
            assert told[CALLS] == 2 + 5 * killed
            assert told[f'{DURATION}_bucket{{le="+Inf",path="/v1/query"}}'] == 2 + 5 * killed
            assert told[RUNNING] == 2
            assert told["lightspeed_turns_waiting"] == 2
            assert told["lightspeed_ready_workers"] == 1
            # There are not more and more files: those of the survivor, and one of each kind for all the dead.
            files = {file.name for file in folder.path.glob("*.db")}
            dead = {name for name in files if str(survivor.process.pid) not in name}
            assert dead == {"counter_0.db", "histogram_0.db"}


def test_the_usage_of_all_processes_is_added_up() -> None:
    with SharedFolder.temporary() as folder, working(folder, 1) as (worker,):
        before = worker.tell()
        spinning = "import time\nwhile time.process_time() < 0.3: pass"
        subprocess.run(
            [sys.executable, "-c", spinning], check=True
        )  # a child of the same parent, dead when asked
        after = worker.tell()
        own = int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    # Linux counts the time of dead children in hundredths.
    assert after["process_cpu_seconds_total"] > before["process_cpu_seconds_total"] + 0.25
    assert after["process_resident_memory_bytes"] > own
    assert after["process_start_time_seconds"] == before["process_start_time_seconds"] > 1e9
    assert 0 < after["process_open_fds"] < after["process_max_fds"]


def test_an_unfinished_file_is_dropped(caplog: pytest.LogCaptureFixture) -> None:
    with SharedFolder.temporary() as folder, working(folder, 3) as (worker,):
        (folder.path / "counter_999999999.db").touch()
        (folder.path / "histogram_999999999.db").touch()
        assert worker.tell()[CALLS] == 3
        with caplog.at_level(logging.WARNING):
            folder.bury(999999999)
        assert worker.tell()[CALLS] == 3
        assert not list(folder.path.glob("*_999999999.db"))
    assert {record.getMessage() for record in caplog.records} == {
        f"A file of counters was left unfinished, and is dropped: {kind}_999999999.db"
        for kind in ("counter", "histogram")
    }


def test_workers_go_on_when_the_folder_is_gone() -> None:
    with SharedFolder.temporary() as folder, working(folder, 3) as (worker,):
        folder.remove()
        told = worker.tell()
        assert CALLS not in told
        assert any(name.startswith("python_info") for name in told)


def test_a_folder_that_cannot_be_made_is_a_precise_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "absent"))
    message = r"^cannot make a temporary directory for the metrics of the workers: No such"
    with pytest.raises(StartupError, match=message), SharedFolder.temporary():
        pass


def test_only_the_owner_can_read_the_folder_and_it_is_removed() -> None:
    with SharedFolder.temporary() as folder:
        assert stat.S_IMODE(folder.path.stat().st_mode) == 0o700
    assert not folder.path.exists()
