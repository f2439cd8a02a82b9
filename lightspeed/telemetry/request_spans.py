"""A span for each request, as OpenTelemetry's conventions for HTTP servers have it."""

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from lightspeed.telemetry.trace_id import current_trace_id
from lightspeed.telemetry.tracing import Span, Tracing, Value

PROBES = ("/liveness", "/readiness", "/metrics")

_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "DELETE", "CONNECT", "OPTIONS", "TRACE", "PATCH"})
_PROPAGATED = (b"traceparent", b"tracestate")


class RequestSpans:
    """Begins the trace of a request, or goes on with that of the caller. Probes leave no spans.

    Query strings, headers, addresses and bodies are left out: they may name a user.
    """

    def __init__(self, app: ASGIApp, *, tracing: Tracing, root_path: str = "") -> None:
        self.app = app
        self.tracing = tracing
        self.unseen = frozenset({*PROBES, *(root_path + probe for probe in PROBES)})

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["path"] in self.unseen or not self.tracing.active:
            await self.app(scope, receive, send)
            return
        status = 0

        async def send_observed(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        with self._begun(scope) as span:
            current_trace_id.set(span.trace_id)
            try:
                await self.app(scope, receive, send_observed)
            finally:
                _end(span, scope, status)

    def _begun(self, scope: Scope) -> Span:
        method = scope["method"]
        known = method in _METHODS
        host, port = scope.get("server") or (None, None)
        attributes: dict[str, Value | None] = {
            "http.request.method": method if known else "_OTHER",
            "http.request.method_original": None if known else method,
            "url.scheme": scope.get("scheme", "http"),
            "url.path": scope["path"],
            "server.address": host,
            "server.port": port,
            "network.protocol.version": scope.get("http_version"),
            "lightspeed.request_id": scope.get("request_id"),
        }
        carrier = {
            name.decode("latin-1"): value.decode("latin-1")
            for name, value in scope["headers"]
            if name in _PROPAGATED
        }
        return self.tracing.span(method if known else "HTTP", attributes, kind="server", carrier=carrier)


def _end(span: Span, scope: Scope, status: int) -> None:
    route = getattr(scope.get("route"), "path", None)
    if route is not None:
        method = scope["method"] if scope["method"] in _METHODS else "HTTP"
        span.rename(f"{method} {route}")
        span.set({"http.route": route})
    if status:
        span.set({"http.response.status_code": status})
    if status >= 500:
        span.fail(str(status))
