"""Counters and durations for Prometheus."""

from pathlib import Path
from typing import Literal

from prometheus_client import (
    CONTENT_TYPE_LATEST,
    CollectorRegistry,
    GCCollector,
    PlatformCollector,
    ProcessCollector,
    generate_latest,
)

from lightspeed.telemetry.metrics_families import LONG, SHORT, Families
from lightspeed.telemetry.metrics_models import ModelsCollector
from lightspeed.telemetry.metrics_retrieval import RetrievalMetrics
from lightspeed.telemetry.metrics_turns import Face, TurnMetrics

__all__ = ["Face", "Metrics"]

_MODEL = ("provider", "model", "endpoint")
_METHODS = frozenset(("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"))


class Metrics:
    """The metrics of one application, in a registry of its own. Durations are in seconds.

    Names that begin with `ls_` and their labels are what dashboards of the service have always known. No text of a
    user ever becomes the value of a label.
    """

    content_type = CONTENT_TYPE_LATEST

    def __init__(self, shared: Path | None = None) -> None:
        """`shared` is the folder in which the workers of a service count together; then this process has one
        application only.
        """
        self._registry = _registry(shared)
        self._models = ModelsCollector()
        self._registry.register(self._models)
        families = Families(None if shared else self._registry)
        self.turns = TurnMetrics(families)
        self.retrieval = RetrievalMetrics(families)
        self._calls = families.counter("ls_rest_api_calls_total", "REST API calls.", "path", "status_code")
        self._durations = families.histogram(
            "ls_response_duration_seconds",
            "Time until the last byte of a response.",
            "path",
            bounds=LONG,
        )
        self._llm_calls = families.counter("ls_llm_calls_total", "Calls of a model.", *_MODEL)
        self._llm_failures = families.counter(
            "ls_llm_calls_failures_total", "Failed calls of a model.", *_MODEL
        )
        self._refusals = families.counter(
            "ls_llm_validation_errors_total", "Questions that a shield refused.", "endpoint"
        )
        self._sent = families.counter("ls_llm_token_sent_total", "Tokens sent to a model.", *_MODEL)
        self._received = families.counter(
            "ls_llm_token_received_total", "Tokens received from a model.", *_MODEL
        )
        self._inference = families.histogram(
            "ls_llm_inference_duration_seconds",
            "Time that a call of a model took.",
            *_MODEL,
            "result",
            bounds=LONG,
        )
        for face in Face:
            self._refusals[face,].inc(0)
        self._storage_failures = families.counter(
            "ls_storage_failures_total",
            "Turns that could not be recorded at once, and other records that could not be kept, by kind.",
            "kind",
        )
        self._requests = families.counter(
            "lightspeed_http_requests_total",
            "Requests by method, route and status.",
            "method",
            "path",
            "status_code",
        )
        self._loop_delay = families.single_histogram(
            "lightspeed_event_loop_delay_seconds",
            "How late the event loop does what is due.",
            bounds=SHORT[:11],
        )
        self._ready = families.single_gauge(
            "lightspeed_ready_workers", "Processes that can answer questions.", over_processes="livesum"
        )

    def response(self, method: str, path: str, status: int, duration: float) -> None:
        """One finished response. `path` is the template of its route."""
        if path != "/metrics":
            self._calls[path, status].inc()
        self._durations[path,].observe(duration)
        self._requests[method if method in _METHODS else "other", path, status].inc()

    def model_call(
        self, provider: str, model: str, face: Face, *, duration: float, result: Literal["success", "failure"]
    ) -> None:
        """One call of a model, after it has ended. A failed call counts as a call too."""
        self._llm_calls[provider, model, face].inc()
        if result == "failure":
            self._llm_failures[provider, model, face].inc()
        self._inference[provider, model, face, result].observe(duration)

    def tokens(self, provider: str, model: str, face: Face, *, sent: int, received: int) -> None:
        """Tokens of one call of a model."""
        self._sent[provider, model, face].inc(sent)
        self._received[provider, model, face].inc(received)

    def shield_refusal(self, face: Face) -> None:
        """One question that a shield refused."""
        self._refusals[face,].inc()

    def storage_failure(self, kind: str) -> None:
        """One turn that the database did not take at once (`conversation`), or another record that is lost."""
        self._storage_failures[kind,].inc()

    def models(self, models: set[tuple[str, str]], default: tuple[str, str] | None) -> None:
        """All models of all providers as (provider, model), replacing what was there."""
        self._models.replace(models, default)

    def event_loop_delay(self, seconds: float) -> None:
        self._loop_delay.observe(seconds)

    def ready(self, ready: bool) -> None:
        """Whether this process can answer questions."""
        self._ready.set(int(ready))

    def exposition(self) -> bytes:
        """All metrics in Prometheus' text format. Reads files and /proc, so call it in a thread."""
        return bytes(generate_latest(self._registry))


def _registry(shared: Path | None) -> CollectorRegistry:
    registry = CollectorRegistry()
    PlatformCollector(registry=registry)
    if shared is None:
        ProcessCollector(registry=registry)
        GCCollector(registry=registry)
        return registry
    # Imported here: there are systems on which a service is one process only.
    from lightspeed.telemetry.metrics_processes import ProcessesCollector
    from lightspeed.telemetry.metrics_shared import SharedFolder

    folder = SharedFolder(shared)
    folder.count_here()
    registry.register(ProcessesCollector())
    registry.register(folder)
    return registry
