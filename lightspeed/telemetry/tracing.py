"""Traces: spans of requests and Turns, sent to an OpenTelemetry collector if the environment names one."""

import logging
import os
import threading
from collections.abc import Mapping, Sequence
from contextvars import ContextVar, Token
from typing import TYPE_CHECKING, Literal, Self

from anyio import to_thread

if TYPE_CHECKING:
    from types import TracebackType

    from opentelemetry.trace import Span as OpenTelemetrySpan

    from lightspeed.telemetry.span_pipeline import SpanPipeline

logger = logging.getLogger(__name__)

type Value = str | bool | int | float | Sequence[str]
type Kind = Literal["internal", "server", "client"]

ENDPOINT_VARIABLES = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT")
PROTOCOL_VARIABLES = ("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL")
CONTENT_VARIABLE = "OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT"
PROTOCOL = "http/protobuf"

_CLOSES_WITHIN = 3.0  # seconds

# Not OpenTelemetry's own current span: into that one the stack writes messages that it gives to shields.
_current: ContextVar["Span | None"] = ContextVar("span", default=None)


class Span:
    """One step of the work. A `with` block makes it the parent of the spans inside, and ends it."""

    __slots__ = ("_token", "_traced")

    def __init__(self, traced: "OpenTelemetrySpan | None") -> None:
        """None is a span that goes nowhere."""
        self._traced = traced
        self._token: Token[Span | None] | None = None

    @property
    def traced(self) -> "OpenTelemetrySpan | None":
        return self._traced

    @property
    def trace_id(self) -> str | None:
        """32 hexadecimal digits; None for a span that goes nowhere."""
        return f"{self._traced.get_span_context().trace_id:032x}" if self._traced else None

    def set(self, attributes: Mapping[str, Value | None]) -> None:
        """Set attributes; those that are None are left out."""
        if self._traced is not None:
            self._traced.set_attributes(_known(attributes))

    def rename(self, name: str) -> None:
        if self._traced is not None:
            self._traced.update_name(name)

    def fail(self, error_type: str) -> None:
        """Mark the work as failed. `error_type` is the name of a class or a status, never a message."""
        if self._traced is not None:
            from opentelemetry.trace import Status, StatusCode

            self._traced.set_attribute("error.type", error_type)
            self._traced.set_status(Status(StatusCode.ERROR))

    def end(self) -> None:
        if self._traced is not None:
            self._traced.end()

    def __enter__(self) -> Self:
        if self._traced is not None:
            self._token = _current.set(self)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, _: "TracebackType | None"
    ) -> None:
        if self._token is not None:
            _current.reset(self._token)
            self._token = None
        if kind is not None and issubclass(kind, Exception):
            self.fail(kind.__qualname__)
        self.end()


_NOWHERE = Span(None)


class Tracing:
    """The traces of one application, between `open()` and `close()`; before and after, spans go nowhere."""

    def __init__(self, environment: Mapping[str, str] = os.environ) -> None:
        """Reads the standard variables of OpenTelemetry. Without an endpoint its SDK is never imported."""
        self._environment = environment
        self._pipeline: SpanPipeline | None = None
        self.keeps_content = environment.get(CONTENT_VARIABLE, "").strip().lower() == "true"

    @property
    def configured(self) -> bool:
        """Whether spans are wanted."""
        variables = self._environment
        return (
            any(variables.get(name) for name in ENDPOINT_VARIABLES)
            and variables.get("OTEL_TRACES_EXPORTER", "").strip().lower() in ("", "otlp")
            and variables.get("OTEL_SDK_DISABLED", "").strip().lower() != "true"
        )

    @property
    def active(self) -> bool:
        return self._pipeline is not None

    async def open(self) -> None:
        """Make the pipeline in a thread, since its import takes a while. What goes wrong is logged."""
        if not self.configured:
            return
        protocol = next(filter(None, map(self._environment.get, PROTOCOL_VARIABLES)), PROTOCOL)
        if protocol.strip().lower() != PROTOCOL:
            logger.warning("No traces are sent: the protocol %r is not spoken, only %s", protocol, PROTOCOL)
            return
        try:
            self._pipeline = await to_thread.run_sync(_pipeline)
        except Exception as error:
            logger.debug("Traces cannot be made", exc_info=True)
            logger.warning("No traces are sent: %s", error)

    async def close(self, limit: float = _CLOSES_WITHIN) -> None:
        """Send what waits, for at most `limit` seconds."""
        pipeline, self._pipeline = self._pipeline, None
        if pipeline is None:
            return
        # The exporter cannot be told how long it may take; as a daemon it never holds up the end of the process.
        closing = threading.Thread(target=pipeline.close, name="end of traces", daemon=True)
        closing.start()
        await to_thread.run_sync(closing.join, limit)
        if closing.is_alive():
            logger.warning("Traces of the last requests are lost: the collector did not take them in time")

    def span(
        self,
        name: str,
        attributes: Mapping[str, Value | None],
        *,
        kind: Kind = "internal",
        carrier: Mapping[str, str] | None = None,
    ) -> Span:
        """A span that has begun. Its parent is the current one, else the remote one that `carrier` names in W3C's headers."""
        if self._pipeline is None:
            return _NOWHERE
        parent = _current.get()
        return Span(
            self._pipeline.begin(
                name,
                kind,
                _known(attributes),
                parent=parent.traced if parent is not None else None,
                carrier=carrier or {},
            )
        )


NO_TRACES = Tracing({})


def _known(attributes: Mapping[str, Value | None]) -> dict[str, Value]:
    return {key: value for key, value in attributes.items() if value is not None}


def _pipeline() -> "SpanPipeline":
    from lightspeed.telemetry.span_pipeline import SpanPipeline

    return SpanPipeline()
