"""How soon operators are answered while users are: /metrics and /liveness beside running streams."""

import asyncio
import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

from tests.bench.client import Connection, get
from tests.bench.load import Job, Result, quantile
from tests.bench.process import Child
from tests.bench.rounds import FaultError

_REPOSITORY = Path(__file__).resolve().parents[2]
_PATHS = ("/liveness", "/metrics")
_STREAMS = (0, 8)
_TOKENS = 256
_EVERY = 0.02  # seconds between two requests for the same path
_ANSWER_TIMEOUT = 30.0
_START_TIMEOUT = 120.0


@dataclass(frozen=True, slots=True)
class Scrape:
    """One path beside `streams` streams at once. Times in milliseconds; `tokens_rate` is what the streams got, a second."""

    name: str
    path: str
    streams: int
    requests: int
    p50: float
    p99: float
    tokens_rate: float


def scrapes(name: str, child: Child, *, seconds: float) -> Iterator[Scrape]:
    """Both paths, alone and beside streams. Raises FaultError when anything is not answered well."""
    for streams in _STREAMS:
        with _streams(child.port, streams, seconds) as result:
            times = asyncio.run(_ask_both(child.port, seconds))
            rate = result()
        for path, taken in times.items():
            ordered = sorted(1000 * one for one in taken)
            p50, p99 = quantile(ordered, 0.50), quantile(ordered, 0.99)
            yield Scrape(name, path, streams, len(ordered), p50, p99, rate)


def wait_for_workers(port: int, count: int) -> None:
    """Returns when so many worker processes can answer questions. Raises TimeoutError."""
    end = time.perf_counter() + _START_TIMEOUT
    wanted = f"\nlightspeed_ready_workers {count:.1f}\n".encode()
    while wanted not in asyncio.run(_told(port)):
        if time.perf_counter() > end:
            raise TimeoutError(f"not {count} workers in {_START_TIMEOUT:g} s")
        time.sleep(_EVERY)


async def _told(port: int) -> bytes:
    _, connection = await asyncio.get_running_loop().create_connection(Connection, "127.0.0.1", port)
    _, body = await connection.ask(get("/metrics"))
    connection.close()
    return body


@contextmanager
def _streams(port: int, clients: int, seconds: float) -> Iterator[Callable[[], float]]:
    """Streams beside what is done in the context; gives a function that waits for their end, and returns their tokens a second."""
    if not clients:
        yield lambda: 0.0
        return
    # Longer than is asked here, so that all that is asked is beside them.
    job = Job(port, "/v1/streaming_query", _TOKENS, clients, seconds + 1, warm_up=0.5)
    generator = subprocess.Popen(
        [sys.executable, "-m", "tests.bench.load", json.dumps(asdict(job))],
        cwd=_REPOSITORY,
        stdout=subprocess.PIPE,
    )

    def tokens_rate() -> float:
        output, _ = generator.communicate(timeout=seconds + 90)
        result = Result(**json.loads(output))
        if result.faults:
            raise FaultError(f"streams beside {_PATHS}: {result.faults}")
        return result.tokens_rate

    try:
        yield tokens_rate
    finally:
        generator.kill()
        generator.wait()


async def _ask_both(port: int, seconds: float) -> dict[str, list[float]]:
    await asyncio.sleep(1)  # until the streams run
    try:
        taken = await asyncio.gather(*(_ask(port, path, seconds) for path in _PATHS))
    finally:
        await asyncio.sleep(0)  # until the connections are closed
    return dict(zip(_PATHS, taken, strict=True))


async def _ask(port: int, path: str, seconds: float) -> list[float]:
    loop = asyncio.get_running_loop()
    transport, connection = await loop.create_connection(Connection, "127.0.0.1", port)
    request, times = get(path), []
    end = time.perf_counter() + seconds
    with closing(transport):
        while (start := time.perf_counter()) < end:
            async with asyncio.timeout(_ANSWER_TIMEOUT):
                status, _ = await connection.ask(request)
            times.append(time.perf_counter() - start)
            if status != 200:
                raise FaultError(f"{path}: status {status}")
            await asyncio.sleep(_EVERY)
    return times
