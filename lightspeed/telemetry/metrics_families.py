"""Families of metrics whose members are found fast."""

from typing import Any

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

# The bounds that dashboards know, and finer ones for what takes milliseconds; both in seconds.
LONG = (0.1, 0.5, 1.0, 2.5, 5.0, 10.0, 20.0, 30.0, 60.0, 120.0)
SHORT = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0)


class Family(dict[tuple[object, ...], Any]):
    """The members of a metric by the values of its labels, made when they are first asked for.

    Prometheus' own `labels()` takes longer than to count does. Values of labels must come from a bounded set.
    """

    def __init__(self, metric: Any) -> None:
        super().__init__()
        self._metric = metric

    def __missing__(self, values: tuple[object, ...]) -> Any:
        member = self[values] = self._metric.labels(*values)
        return member


class Families:
    """Makes metrics in one registry."""

    def __init__(self, registry: CollectorRegistry | None) -> None:
        """Without a registry, where another collector tells what is counted."""
        self._registry = registry

    def counter(self, name: str, text: str, *labels: str) -> Family:
        return Family(Counter(name, text, labels, registry=self._registry))

    def gauge(self, name: str, text: str, *labels: str, over_processes: str) -> Family:
        """`over_processes` says what becomes of the values of several: `livesum` or `livemax`."""
        return Family(Gauge(name, text, labels, multiprocess_mode=over_processes, registry=self._registry))

    def histogram(self, name: str, text: str, *labels: str, bounds: tuple[float, ...]) -> Family:
        return Family(Histogram(name, text, labels, buckets=bounds, registry=self._registry))

    def single_gauge(self, name: str, text: str, *, over_processes: str) -> Gauge:
        """A gauge without labels."""
        return Gauge(name, text, multiprocess_mode=over_processes, registry=self._registry)

    def single_histogram(self, name: str, text: str, *, bounds: tuple[float, ...]) -> Histogram:
        """A histogram without labels."""
        return Histogram(name, text, buckets=bounds, registry=self._registry)
