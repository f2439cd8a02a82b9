"""The benchmark's results as Markdown, ready for docs/performance.md."""

import os
import platform
from collections.abc import Iterable, Sequence
from pathlib import Path
from statistics import median

from tests.bench.footprint import Footprint
from tests.bench.identity import IdentityCost
from tests.bench.rounds import Case, Measurement, summary
from tests.bench.scrapes import Scrape
from tests.bench.storage import Timing
from tests.bench.tools import ToolCost

_COLUMNS = (
    ("requests/s", "rate", "{:.0f}"),
    ("tokens/s", "tokens_rate", "{:.0f}"),
    ("p50 ms", "p50", "{:.1f}"),
    ("p99 ms", "p99", "{:.1f}"),
    ("CPU ms/request", "cpu", "{:.2f}"),
)


def machine() -> str:
    """One line on where this was measured."""
    cores = len(os.sched_getaffinity(0))
    models = [
        line.split(":", 1)[1].strip()
        for line in Path("/proc/cpuinfo").read_text().splitlines()
        if line.startswith("model name")
    ]
    name = models[0] if models else platform.machine()
    return f"{cores} cores, {name}, Python {platform.python_version()}"


def throughput(measurements: Sequence[Measurement], wanted: Sequence[Case]) -> Iterable[str]:
    """A row per case; behind each number of the service its ratio to the floor, in brackets."""
    heads = [head for head, _, _ in _COLUMNS]
    both = len({one.target for one in measurements}) > 1
    yield _row("", *heads, *(["floor requests/s"] if both else []))
    yield _row("---", *("---:" for _ in range(len(heads) + both)))
    for case in wanted:
        floor = summary(measurements, case, "floor")
        service = summary(measurements, case, "service")
        shown = service or floor
        if shown is None:
            continue
        cells = []
        for _, name, form in _COLUMNS:
            ratio = f" ({_ratio(measurements, case, name):.2f})" if service and floor else ""
            cells.append(form.format(shown[name]) + ratio)
        label = case.label("service" if service else "floor")
        yield _row(label, *cells, *([f"{floor['rate']:.0f}"] if service and floor else []))


def busiest_generator(measurements: Sequence[Measurement]) -> float:
    """The greatest share of a core that the load generator used; near 1 it limits what is measured."""
    return max((one.result.generator for one in measurements), default=0.0)


def footprints(measured: Sequence[Footprint]) -> Iterable[str]:
    yield _row("", "alive s", "ready s", "resident MB", "heavy libraries in memory")
    yield _row("---", "---:", "---:", "---:", "---")
    for one in measured:
        libraries = ", ".join(one.libraries) or "none"
        megabytes = f"{one.resident / 1e6:.0f}"
        times = [f"{seconds:.2f}" if seconds is not None else "" for seconds in (one.alive, one.ready)]
        yield _row(one.name, *times, megabytes, libraries)


def storage(measured: Sequence[Timing]) -> Iterable[str]:
    yield _row("", "ms", "floor ms", "ratio")
    yield _row("---", "---:", "---:", "---:")
    for one in measured:
        yield _row(one.name, f"{one.ours:.2f}", f"{one.floor:.2f}", f"{one.ours / one.floor:.1f}")


def scrapes(measured: Sequence[Scrape]) -> Iterable[str]:
    yield _row("", "streams", "p50 ms", "p99 ms", "tokens/s of the streams")
    yield _row("---", "---:", "---:", "---:", "---:")
    for one in measured:
        rate = f"{one.tokens_rate:.0f}" if one.streams else ""
        yield _row(f"`{one.path}`, {one.name}", str(one.streams), f"{one.p50:.1f}", f"{one.p99:.1f}", rate)


def identity(measured: Sequence[IdentityCost]) -> Iterable[str]:
    yield _row("", "p50 ms", "added ms")
    yield _row("---", "---:", "---:")
    for one in measured:
        yield _row(f"`{one.module}`", f"{one.p50:.2f}", f"{one.added:.2f}")


def tools(measured: Sequence[ToolCost]) -> Iterable[str]:
    yield _row("", "ms", "of that the servers' ms", "requests to servers", "ratio")
    yield _row("---", "---:", "---:", "---:", "---:")
    for one in measured:
        ratio = "" if one.ratio is None else f"{one.ratio:.2f}"
        yield _row(one.name, f"{one.taken:.1f}", f"{one.beside:.1f}", f"{one.requests:.1f}", ratio)


def _ratio(measurements: Sequence[Measurement], case: Case, name: str) -> float:
    """The median over the rounds of service to floor, each round against its own neighbour."""
    pairs = zip(
        (one for one in measurements if one.case == case and one.target == "service"),
        (one for one in measurements if one.case == case and one.target == "floor"),
        strict=True,
    )
    return median(_value(service, name) / _value(floor, name) for service, floor in pairs)


def _value(measurement: Measurement, name: str) -> float:
    value: float = measurement.cpu if name == "cpu" else getattr(measurement.result, name)
    return value


def _row(*cells: str) -> str:
    return f"| {' | '.join(cells)} |"
