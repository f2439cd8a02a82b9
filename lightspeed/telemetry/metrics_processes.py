"""Processor time and memory of a service that is several processes."""

import os
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily

_PROC = Path("/proc")


@dataclass(frozen=True, slots=True)
class _Usage:
    """One process. Times in seconds, `cpu` with that of its dead children, memory in bytes."""

    cpu: float
    started_at: float
    virtual: int
    resident: int
    open_files: int
    most_files: int

    @classmethod
    def of(cls, pid: int, booted_at: float) -> Self:
        """Raises OSError or ValueError when the process is gone."""
        folder = _PROC / str(pid)
        fields = (folder / "stat").read_text().rpartition(")")[2].split()
        ticks = os.sysconf("SC_CLK_TCK")
        limits = (folder / "limits").read_text().splitlines()
        most = next((line.split()[3] for line in limits if line.startswith("Max open files")), "")
        return cls(
            cpu=sum(map(int, fields[11:15])) / ticks,
            started_at=booted_at + int(fields[19]) / ticks,
            virtual=int(fields[20]),
            resident=int(fields[21]) * os.sysconf("SC_PAGE_SIZE"),
            open_files=len(os.listdir(folder / "fd")),  # noqa: PTH208 — no paths are needed
            most_files=int(most) if most.isdigit() else 0,
        )


class ProcessesCollector:
    """The metrics `process_*` of the calling worker, its parent, and the other workers, under the usual names.

    Sums; but files are those of the process that has the most of them open, because the limit is for each, and the
    start is the parent's. Nothing where there is no /proc.
    """

    def collect(self) -> Iterable[Any]:
        try:
            booted_at = _booted_at()
            usages = list(self._usages(booted_at))
        except OSError:
            return
        if not usages:
            return
        busiest = max(usages, key=lambda usage: usage.open_files)
        yield GaugeMetricFamily(
            "process_virtual_memory_bytes",
            "Virtual memory of all processes of the service in bytes.",
            value=sum(usage.virtual for usage in usages),
        )
        yield GaugeMetricFamily(
            "process_resident_memory_bytes",
            "Resident memory of all processes of the service in bytes.",
            value=sum(usage.resident for usage in usages),
        )
        yield GaugeMetricFamily(
            "process_start_time_seconds",
            "Start of the service since unix epoch in seconds.",
            value=usages[0].started_at,
        )
        yield CounterMetricFamily(
            "process_cpu_seconds_total",
            "User and system time of all processes of the service in seconds.",
            value=sum(usage.cpu for usage in usages),
        )
        yield GaugeMetricFamily(
            "process_open_fds",
            "Open file descriptors of the process that has most of them.",
            value=busiest.open_files,
        )
        yield GaugeMetricFamily(
            "process_max_fds",
            "How many file descriptors that process may open.",
            value=busiest.most_files,
        )

    def _usages(self, booted_at: float) -> Iterator[_Usage]:
        parent = os.getppid()
        family = [parent, *_children(parent)]
        for pid in family if os.getpid() in family else [os.getpid()]:
            with suppress(OSError, ValueError):
                yield _Usage.of(pid, booted_at)


def _booted_at() -> float:
    lines = (_PROC / "stat").read_text().splitlines()
    return next(float(line.split()[1]) for line in lines if line.startswith("btime "))


def _children(pid: int) -> list[int]:
    found: list[int] = []
    with suppress(OSError):
        for task in (_PROC / str(pid) / "task").iterdir():
            found += map(int, (task / "children").read_text().split())
    return found
