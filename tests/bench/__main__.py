"""`python -m tests.bench`: what our service costs beyond the least that such a service can cost."""

import argparse
import json
import signal
import sys
import tempfile
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from types import FrameType

from tests.bench import report, service
from tests.bench.footprint import LIBRARIES, Footprint, footprint, start_repeatedly, wait_until_ready
from tests.bench.identity import IdentityCost, identity_costs
from tests.bench.process import Child, DidNotStartError
from tests.bench.rounds import Case, FaultError, Measurement, cases, measure
from tests.bench.scrapes import Scrape, scrapes, wait_for_workers
from tests.bench.storage import Timing, timings
from tests.bench.tools import ToolCost, tool_costs

_PARTS = ("floor", "service", "start", "default", "storage", "metrics", "identity", "tools")


@dataclass
class Findings:
    measurements: list[Measurement] = field(default_factory=list)
    footprints: list[Footprint] = field(default_factory=list)
    timings: list[Timing] = field(default_factory=list)
    scrapes: list[Scrape] = field(default_factory=list)
    identity: list[IdentityCost] = field(default_factory=list)
    tools: list[ToolCost] = field(default_factory=list)


class Bench:
    """One run. All processes that it starts end with it."""

    def __init__(self, folder: Path, options: argparse.Namespace) -> None:
        self._folder = folder
        self._parts = set(options.only or _PARTS)
        self._rounds: int = options.rounds
        self._seconds: float = options.seconds
        self.findings = Findings()

    def run(self, wanted: Sequence[Case]) -> None:
        if "storage" in self._parts:
            for one in timings(self._new_folder("storage"), times=100 * self._rounds):
                self.findings.timings.append(one)
                _progress(f"{one.name}: {one.ours:.2f} ms")
        if "tools" in self._parts:
            self.findings.tools += tool_costs(self._new_folder("tools"), turns=20 * self._rounds)
        with service.scripted_model(self._new_folder("model")) as model:
            model.wait_for("/v1/models", 20)
            upstream = f"http://127.0.0.1:{model.port}/v1"
            if "start" in self._parts:
                remote = partial(service.remote_service, upstream=upstream)
                self._start("remote", remote)
            if self._parts & {"floor", "service"}:
                self._throughput(upstream, wanted)
            if "metrics" in self._parts:
                self._scrape(upstream)
            if "identity" in self._parts:
                folder = self._new_folder("identity")
                self.findings.identity += identity_costs(folder, upstream, requests=500 * self._rounds)
            if "default" in self._parts:
                self._start("default", service.default_service)

    def _start(self, name: str, make: Callable[[Path], Child]) -> None:
        folder = self._new_folder(f"start-{name}")
        found = start_repeatedly(make, folder, self._rounds)
        self.findings.footprints.append(found)
        _progress(f"{found.name}: ready after {found.ready:.2f} s")

    def _throughput(self, upstream: str, wanted: Sequence[Case]) -> None:
        with ExitStack() as running:
            targets: dict[str, Child] = {}
            if "floor" in self._parts:
                child = running.enter_context(service.floor(self._new_folder("floor"), upstream))
                child.wait_for("/liveness", 20)
                targets["floor"] = child
            if "service" in self._parts:
                child = running.enter_context(service.remote_service(self._new_folder("remote"), upstream))
                wait_until_ready(child)
                targets["service"] = child
            for one in measure(targets, wanted, rounds=self._rounds, seconds=self._seconds):
                self.findings.measurements.append(one)
                _progress(f"{one.target:8}{one.case.label(one.target)}: {one.result.rate:.0f} requests/s")
            if "service" in self._parts:
                self.findings.footprints.append(footprint(targets["service"], "after the load"))

    def _scrape(self, upstream: str) -> None:
        for workers, name in ((1, "one process"), (2, "two workers")):
            folder = self._new_folder(f"metrics-{workers}")
            with service.remote_service(folder, upstream, workers) as child:
                wait_until_ready(child)
                wait_for_workers(child.port, workers)
                for one in scrapes(name, child, seconds=self._seconds):
                    self.findings.scrapes.append(one)
                    _progress(f"{one.path}, {name}, {one.streams} streams: p99 {one.p99:.1f} ms")

    def _new_folder(self, name: str) -> Path:
        folder = self._folder / name
        folder.mkdir()
        return folder


def _progress(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def show(findings: Findings, wanted: Sequence[Case]) -> None:
    print(f"Machine: {report.machine()}.\n")
    if findings.measurements:
        print(*report.throughput(findings.measurements, wanted), sep="\n")
        share = report.busiest_generator(findings.measurements)
        print(
            "\nMedians over the rounds; in brackets the ratio to the floor, measured in turns with the service."
        )
        print(f"The load generator used {share:.0%} of a core at most.\n")
    if findings.footprints:
        print(*report.footprints(findings.footprints), sep="\n")
        print(
            f"\nMedians over the starts, each with empty state. Looked for in memory: {', '.join(LIBRARIES)}."
        )
    if findings.scrapes:
        print(*report.scrapes(findings.scrapes), sep="\n")
        print("\nEach path is asked every 20 ms while the streams run.")
    if findings.identity:
        print(*report.identity(findings.identity), sep="\n")
        print("\nMedians of GET /v1/info on one connection; with access rules but for `noop`.")
    if findings.tools:
        print(*report.tools(findings.tools), sep="\n")
        print(
            "\nMedians. The ratio is that to a turn without tools, after the servers' own time is taken off; for first"
            " tokens, the servers' time is that of the slowest living one's list."
        )
    if findings.timings:
        print(*report.storage(findings.timings), sep="\n")
        print("\nMedians in milliseconds; the floor does the same with bare statements of the driver.")


def main() -> int:
    options = _arguments()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, _interrupt)
    wanted = cases()
    with tempfile.TemporaryDirectory(prefix="lightspeed-bench-") as folder:
        bench = Bench(Path(folder), options)
        try:
            bench.run(wanted)
        except (DidNotStartError, FaultError) as error:
            print(f"bench: {error}", file=sys.stderr)
            return 1
        except KeyboardInterrupt:
            return 130
        finally:
            show(bench.findings, wanted)
            if options.json:
                options.json.write_text(json.dumps(asdict(bench.findings), indent=1))
    return 0


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.bench", description=__doc__)
    parser.add_argument("--rounds", type=int, default=3, help="of load, and starts")
    parser.add_argument("--seconds", type=float, default=2.5, help="of load per case, target and round")
    parser.add_argument("--only", action="append", choices=_PARTS, help="may be given several times")
    parser.add_argument("--json", type=Path, help="write all single measurements to this file")
    parser.add_argument("--quick", action="store_true", help="one round of half a second")
    options = parser.parse_args()
    if options.quick:
        options.rounds, options.seconds = 1, 0.5
    return options


def _interrupt(number: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt


if __name__ == "__main__":
    sys.exit(main())
