"""What our service costs before the first question: time to start, memory, libraries."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from tests.bench.process import Child

_START_TIMEOUT = 60.0
_SETTLE = 1.0  # for what is loaded in the background after /readiness

# What is looked for in the paths of the files that are mapped into memory.
LIBRARIES = {
    "torch": "/torch/",
    "faiss": "faiss",
    "onnxruntime": "onnxruntime",
    "llama.cpp": "xllamacpp",
    "pandas": "/pandas/",
    "scipy": "/scipy/",
}


@dataclass(frozen=True, slots=True)
class Footprint:
    """`alive` and `ready`: seconds from the spawn to 200 from /liveness and /readiness, None if not measured.

    `resident` in bytes, summed over the processes; `libraries` are the heavy ones mapped into memory.
    """

    name: str
    resident: int
    libraries: list[str]
    alive: float | None = None
    ready: float | None = None


def wait_until_ready(child: Child) -> tuple[float, float]:
    """Seconds from the spawn until the child is alive, and until it is ready."""
    return child.wait_for("/liveness", _START_TIMEOUT), child.wait_for("/readiness", _START_TIMEOUT)


def footprint(child: Child, note: str) -> Footprint:
    """The memory of a running child, now."""
    libraries = [name for name, word in LIBRARIES.items() if child.maps(word)]
    return Footprint(f"{child.name}, {note}", child.resident(), libraries)


def start_repeatedly(make: Callable[[Path], Child], folder: Path, times: int) -> Footprint:
    """Start a child `times` times, each on an empty folder. Medians; libraries of the last one."""
    starts: list[tuple[float, float]] = []
    rests: list[Footprint] = []
    for number in range(times):
        empty = folder / str(number)
        empty.mkdir(parents=True)
        with make(empty) as child:
            starts.append(wait_until_ready(child))
            time.sleep(_SETTLE)
            rests.append(footprint(child, "at rest"))
    return Footprint(
        rests[-1].name,
        int(median(rest.resident for rest in rests)),
        rests[-1].libraries,
        alive=median(alive for alive, _ in starts),
        ready=median(ready for _, ready in starts),
    )
