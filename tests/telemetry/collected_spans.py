"""Spans as a collector has received them."""

from dataclasses import dataclass
from typing import Any

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import Span as Message

from tests.telemetry.receiver import Receiver


@dataclass(frozen=True)
class Collected:
    """`parent` is empty for the first span of a trace."""

    name: str
    kind: str
    trace: str
    id: str
    parent: str
    attributes: dict[str, Any]
    failed: bool
    resource: dict[str, Any]


def collected(receiver: Receiver) -> list[Collected]:
    spans = []
    for request in list(receiver.requests):
        assert request.path == "/v1/traces"
        message = ExportTraceServiceRequest.FromString(request.body)
        for part in message.resource_spans:
            resource = _attributes(part.resource.attributes)
            spans += [_span(span, resource) for scope in part.scope_spans for span in scope.spans]
    return spans


def named(receiver: Receiver, name: str) -> Collected:
    (found,) = [span for span in collected(receiver) if span.name == name]
    return found


def _span(span: Message, resource: dict[str, Any]) -> Collected:
    return Collected(
        span.name,
        Message.SpanKind.Name(span.kind).removeprefix("SPAN_KIND_"),
        span.trace_id.hex(),
        span.span_id.hex(),
        span.parent_span_id.hex(),
        _attributes(span.attributes),
        span.status.code == 2,
        resource,
    )


def _attributes(pairs: Any) -> dict[str, Any]:
    return {pair.key: _value(pair.value) for pair in pairs}


def _value(value: Any) -> Any:
    kind = value.WhichOneof("value")
    if kind == "array_value":
        return [_value(item) for item in value.array_value.values]
    return getattr(value, kind)
