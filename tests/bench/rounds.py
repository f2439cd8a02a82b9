"""Throughput: the floor and our service under the same load, in turns."""

import json
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import product
from pathlib import Path
from statistics import median

from tests.bench.load import Job, Result
from tests.bench.process import Child

_REPOSITORY = Path(__file__).resolve().parents[2]
_TOKENS = (32, 256)
_CLIENTS = (1, 8)
_PATHS = {"floor": ("/query", "/stream"), "service": ("/v1/query", "/v1/streaming_query")}


@dataclass(frozen=True, slots=True)
class Case:
    """One kind of load."""

    streamed: bool
    tokens: int
    clients: int

    def label(self, target: str) -> str:
        clients = f"{self.clients} client{'s' if self.clients > 1 else ''}"
        return f"`{_PATHS[target][self.streamed]}`, {self.tokens} tokens, {clients}"


@dataclass(frozen=True, slots=True)
class Measurement:
    """One round of one case. `cpu` is the target's processor time per request, in milliseconds."""

    case: Case
    target: str
    result: Result
    cpu: float


class FaultError(Exception):
    """A target gave wrong answers; the message says which."""


def cases() -> list[Case]:
    return [Case(*values) for values in product((False, True), _TOKENS, _CLIENTS)]


def measure(
    targets: Mapping[str, Child], wanted: Sequence[Case], *, rounds: int, seconds: float
) -> Iterator[Measurement]:
    """Every case `rounds` times on each target, the targets in turns so that noise meets all of them."""
    for number in range(rounds):
        order = list(targets.items())[:: -1 if number % 2 else 1]
        for case in wanted:
            for name, child in order:
                yield _measured(case, name, child, seconds)


def summary(measurements: Sequence[Measurement], case: Case, target: str) -> dict[str, float] | None:
    """Medians over the rounds; None where the target was not measured."""
    rounds = [one for one in measurements if one.case == case and one.target == target]
    if not rounds:
        return None
    names = ("rate", "tokens_rate", "p50", "p99", "generator")
    medians = {name: median(getattr(one.result, name) for one in rounds) for name in names}
    return {**medians, "cpu": median(one.cpu for one in rounds)}


def _measured(case: Case, target: str, child: Child, seconds: float) -> Measurement:
    warm_up = min(0.5, seconds / 4)
    path = _PATHS[target][case.streamed]
    job = Job(child.port, path, case.tokens, case.clients, seconds, warm_up)
    before = child.cpu()
    result = _load(job)
    if result.faults or not result.requests:
        raise FaultError(f"{target} {path}, {case.tokens} tokens: {result.faults or 'no answer at all'}")
    cpu = 1000 * (child.cpu() - before) / result.served
    return Measurement(case, target, result, cpu)


def _load(job: Job) -> Result:
    output = subprocess.run(
        [sys.executable, "-m", "tests.bench.load", json.dumps(asdict(job))],
        cwd=_REPOSITORY,
        stdout=subprocess.PIPE,
        timeout=job.seconds + job.warm_up + 90,
        check=True,
    )
    return Result(**json.loads(output.stdout))
