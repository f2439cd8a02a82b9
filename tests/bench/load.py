"""The load generator: `python -m tests.bench.load` asks for some seconds and prints what it saw as JSON."""

import argparse
import asyncio
import json
import time
from collections import Counter
from dataclasses import asdict, dataclass
from typing import Any

import uvloop

from tests.bench.client import BrokenResponseError, Connection, post

_ANSWER_TIMEOUT = 30.0
_PAUSE_AFTER_FAULT = 0.05


@dataclass(frozen=True, slots=True)
class Job:
    """Ask `path` at `port` with `clients` at once for `seconds`; each answer must hold `tokens` tokens."""

    port: int
    path: str
    tokens: int
    clients: int
    seconds: float
    warm_up: float

    def request(self) -> bytes:
        body: dict[str, Any] = {"query": f"Answer in {self.tokens} tokens."}
        if self.path.startswith("/v1/"):
            body["generate_topic_summary"] = False
        return post(self.path, json.dumps(body).encode())


@dataclass(frozen=True, slots=True)
class Result:
    """`rate` and `tokens_rate` per second, times in milliseconds; `served` counts the warm-up too. `generator` is the share of one core that the generator itself used."""

    requests: int
    served: int
    rate: float
    tokens_rate: float
    p50: float
    p99: float
    generator: float
    faults: dict[str, int]


class Load:
    """One run of a job."""

    def __init__(self, job: Job) -> None:
        self._job = job
        self._request = job.request()
        self._check = stream_fault if "stream" in job.path else answer_fault
        self._times: list[float] = []
        self._faults: Counter[str] = Counter()

    async def run(self) -> Result:
        job = self._job
        await self._for(job.warm_up)
        warming = len(self._times)
        self._times.clear()
        cpu, start = time.process_time(), time.perf_counter()
        await self._for(job.seconds)
        took = time.perf_counter() - start
        times = sorted(self._times) or [0.0]
        return Result(
            requests=len(self._times),
            served=warming + len(self._times),
            rate=len(self._times) / took,
            tokens_rate=len(self._times) * job.tokens / took,
            p50=1000 * quantile(times, 0.50),
            p99=1000 * quantile(times, 0.99),
            generator=(time.process_time() - cpu) / took,
            faults=dict(self._faults),
        )

    async def _for(self, seconds: float) -> None:
        deadline = time.perf_counter() + seconds
        async with asyncio.TaskGroup() as tasks:
            for _ in range(self._job.clients):
                tasks.create_task(self._client(deadline))

    async def _client(self, deadline: float) -> None:
        loop = asyncio.get_running_loop()
        connection: Connection | None = None
        while time.perf_counter() < deadline:
            try:
                if connection is None:
                    _, connection = await loop.create_connection(Connection, "127.0.0.1", self._job.port)
                start = time.perf_counter()
                async with asyncio.timeout(_ANSWER_TIMEOUT):
                    status, body = await connection.ask(self._request)
                took = time.perf_counter() - start
                fault = f"status {status}" if status != 200 else self._check(body, self._job.tokens)
            except (BrokenResponseError, OSError, TimeoutError) as error:
                fault = f"{type(error).__name__}: {error}"
                if connection:
                    connection.close()
                connection = None
                await asyncio.sleep(_PAUSE_AFTER_FAULT)
            if fault:
                self._faults[fault] += 1
            else:
                self._times.append(took)
        if connection:
            connection.close()


def answer_fault(body: bytes, tokens: int) -> str | None:
    """What is wrong with an answer that is not streamed; the scripted model's tokens are words."""
    words = len(json.loads(body)["response"].split())
    return None if words == tokens else f"{words} words, not {tokens}"


def stream_fault(body: bytes, tokens: int) -> str | None:
    """What is wrong with a stream. Tokens without text are allowed, and not counted."""
    compact = body.replace(b'": ', b'":')
    seen = compact.count(b'"event":"token"') - compact.count(b'"token":""')
    if seen != tokens:
        return f"{seen} token events, not {tokens}"
    return None if b'"event":"end"' in compact else "no end event"


def quantile(ordered: list[float], share: float) -> float:
    """The value below which that share of the ordered ones lies."""
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("job", type=json.loads, help="the fields of Job as a JSON object")
    job = Job(**parser.parse_args().job)
    result = uvloop.run(Load(job).run())
    print(json.dumps(asdict(result)))


if __name__ == "__main__":
    main()
