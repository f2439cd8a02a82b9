"""How many cores of the machine this process may compute on."""

import os
from collections.abc import Iterable
from pathlib import Path

TOPOLOGY = "sys/devices/system/cpu/cpu{}/topology/thread_siblings_list"
QUOTA = "sys/fs/cgroup/cpu.max"


def usable_cores(root: Path = Path("/")) -> int:
    """Physical cores allowed by the CPU affinity and the container's CPU quota, at least 1.

    More computing threads than cores wait for each other in turns, which costs most of the speed.
    """
    affinity = getattr(os, "sched_getaffinity", None)
    cores = _physical(root, affinity(0)) if affinity else os.cpu_count() or 1
    return max(1, min(cores, _quota(root, cores)))


def _physical(root: Path, processors: Iterable[int]) -> int:
    processors = list(processors)
    try:
        return len({(root / TOPOLOGY.format(number)).read_text() for number in processors})
    except OSError:
        return len(processors)


def _quota(root: Path, unlimited: int) -> int:
    try:
        allowed, _, period = (root / QUOTA).read_text().partition(" ")
        return int(allowed) // int(period)
    except (OSError, ValueError, ZeroDivisionError):
        return unlimited
