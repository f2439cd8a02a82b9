"""Counters and durations for Prometheus."""

from enum import StrEnum
from typing import Literal

from prometheus_client import (
    CONTENT_TYPE_LATEST,
    CollectorRegistry,
    Counter,
    Gauge,
    GCCollector,
    Histogram,
    PlatformCollector,
    ProcessCollector,
    generate_latest,
)

BUCKETS = (0.1, 0.5, 1.0, 2.5, 5.0, 10.0, 20.0, 30.0, 60.0, 120.0)

_MODEL = ("provider", "model", "endpoint")


class Face(StrEnum):
    """The endpoints that ask a model."""

    INFER = "/v1/infer"
    QUERY = "/v1/query"
    STREAMING_QUERY = "/v1/streaming_query"
    RESPONSES = "/v1/responses"
    A2A = "/a2a"


class Metrics:
    """The metrics of one application, in a registry of its own. Durations are in seconds."""

    content_type = CONTENT_TYPE_LATEST

    def __init__(self) -> None:
        registry = self._registry = CollectorRegistry()
        ProcessCollector(registry=registry)
        PlatformCollector(registry=registry)
        GCCollector(registry=registry)
        self._calls = Counter(
            "ls_rest_api_calls_total", "REST API calls.", ("path", "status_code"), registry=registry
        )
        self._durations = Histogram(
            "ls_response_duration_seconds",
            "Time until the last byte of a response.",
            ("path",),
            buckets=BUCKETS,
            registry=registry,
        )
        self._models = Gauge(
            "ls_provider_model_configuration",
            "Models of the providers; 1 marks the default model.",
            ("provider", "model"),
            registry=registry,
        )
        self._llm_calls = Counter("ls_llm_calls_total", "Calls of a model.", _MODEL, registry=registry)
        self._llm_failures = Counter(
            "ls_llm_calls_failures_total", "Failed calls of a model.", _MODEL, registry=registry
        )
        self._refusals = Counter(
            "ls_llm_validation_errors_total",
            "Questions that a shield refused.",
            ("endpoint",),
            registry=registry,
        )
        self._sent = Counter("ls_llm_token_sent_total", "Tokens sent to a model.", _MODEL, registry=registry)
        self._received = Counter(
            "ls_llm_token_received_total", "Tokens received from a model.", _MODEL, registry=registry
        )
        self._inference = Histogram(
            "ls_llm_inference_duration_seconds",
            "Time that a call of a model took.",
            (*_MODEL, "result"),
            buckets=BUCKETS,
            registry=registry,
        )

        self._storage_failures = Counter(
            "ls_storage_failures_total",
            "Turns that could not be recorded at once, and other records that could not be kept, by kind.",
            ("kind",),
            registry=registry,
        )

    def storage_failure(self, kind: str) -> None:
        """One turn that the database did not take at once (`conversation`), or another record that is lost."""
        self._storage_failures.labels(kind).inc()

    def response(self, path: str, status: int, duration: float) -> None:
        """One finished response. `path` is the template of its route."""
        if path != "/metrics":
            self._calls.labels(path, status).inc()
        self._durations.labels(path).observe(duration)

    def model_call(
        self, provider: str, model: str, face: Face, *, duration: float, result: Literal["success", "failure"]
    ) -> None:
        """One call of a model, after it has ended. A failed call counts as a call too."""
        self._llm_calls.labels(provider, model, face).inc()
        if result == "failure":
            self._llm_failures.labels(provider, model, face).inc()
        self._inference.labels(provider, model, face, result).observe(duration)

    def tokens(self, provider: str, model: str, face: Face, *, sent: int, received: int) -> None:
        """Tokens of one call of a model."""
        self._sent.labels(provider, model, face).inc(sent)
        self._received.labels(provider, model, face).inc(received)

    def shield_refusal(self, face: Face) -> None:
        """One question that a shield refused."""
        self._refusals.labels(face).inc()

    def models(self, models: set[tuple[str, str]], default: tuple[str, str] | None) -> None:
        """All models of all providers as (provider, model), replacing what was there."""
        self._models.clear()
        for provider, model in models:
            self._models.labels(provider, model).set(1 if (provider, model) == default else 0)

    def exposition(self) -> bytes:
        """All metrics in Prometheus' text format. Reads /proc, so call it in a thread."""
        return bytes(generate_latest(self._registry))
