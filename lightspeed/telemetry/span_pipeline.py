"""OpenTelemetry's SDK as we use it. Imported only when traces are configured."""

from collections.abc import Mapping
from typing import TYPE_CHECKING
from uuid import uuid4

from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import SERVICE_NAME, Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from lightspeed import __version__
from lightspeed.telemetry.span_delivery import SpanDelivery

if TYPE_CHECKING:
    from lightspeed.telemetry.tracing import Kind, Value

DEFAULT_SERVICE_NAME = "lightspeed-stack"

_KINDS = {
    "internal": trace.SpanKind.INTERNAL,
    "server": trace.SpanKind.SERVER,
    "client": trace.SpanKind.CLIENT,
}


class SpanPipeline:
    """Makes spans, samples them and sends them in batches from a thread of its own.

    Endpoint, headers, certificates, sampler and batches are those of the standard variables of the process. Where an
    operator's instrumentation has set up the process already, spans go its way and nothing is sent twice.
    """

    def __init__(self) -> None:
        self._propagator = TraceContextTextMapPropagator()
        self._provider: TracerProvider | None = None
        provider = trace.get_tracer_provider()
        if not isinstance(provider, TracerProvider):
            provider = self._provider = TracerProvider(resource=_resource(), shutdown_on_exit=False)
            provider.add_span_processor(BatchSpanProcessor(SpanDelivery(OTLPSpanExporter())))
        self._tracer = provider.get_tracer("lightspeed", __version__)

    def begin(
        self,
        name: str,
        kind: "Kind",
        attributes: "Mapping[str, Value]",
        *,
        parent: trace.Span | None,
        carrier: Mapping[str, str],
    ) -> trace.Span:
        """`carrier` holds W3C's headers by their names in small letters."""
        if parent is not None:
            context = trace.set_span_in_context(parent, Context())
        else:
            context = self._propagator.extract(carrier)
        return self._tracer.start_span(name, context=context, kind=_KINDS[kind], attributes=attributes)

    def close(self) -> None:
        """Send what waits; blocks for up to half a minute."""
        if self._provider is not None:
            self._provider.shutdown()


def _resource() -> Resource:
    found = Resource.create({"service.version": __version__, "service.instance.id": str(uuid4())})
    if str(found.attributes.get(SERVICE_NAME, "")).startswith("unknown_service"):
        found = found.merge(Resource({SERVICE_NAME: DEFAULT_SERVICE_NAME}))
    return found
