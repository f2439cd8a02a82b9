"""What every request passes on its way in and out. Pure ASGI: nothing is buffered, no task is made."""

import logging
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from time import perf_counter

from starlette.middleware import Middleware
from starlette.middleware.cors import CORSMiddleware
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from lightspeed.api.errors import internal_error_response
from lightspeed.telemetry.metrics import Metrics
from lightspeed.telemetry.request_id import current_request_id, request_id_from
from lightspeed.telemetry.request_spans import PROBES, RequestSpans
from lightspeed.telemetry.sentry import Sentry
from lightspeed.telemetry.sentry_requests import SentryRequests
from lightspeed.telemetry.tracing import NO_TRACES, Tracing

log = logging.getLogger(__name__)
access = logging.getLogger("lightspeed.access")

CLIENT_CLOSED_REQUEST = 499
UNMATCHED = "unmatched"


@dataclass(frozen=True)
class Cors:
    """Which pages of other origins may call the service."""

    allow_origins: Sequence[str] = ("*",)
    allow_methods: Sequence[str] = ("*",)
    allow_headers: Sequence[str] = ("*",)
    allow_credentials: bool = False


def middleware(
    metrics: Metrics,
    *,
    cors: Cors | None = None,
    root_path: str = "",
    access_log: bool = True,
    tracing: Tracing = NO_TRACES,
    sentry: Sentry | None = None,
) -> list[Middleware]:
    """What the Starlette application needs as its `middleware`, outermost first."""
    cors = cors or Cors()
    layers = [Middleware(RequestIdMiddleware, root_path=root_path)]
    if tracing.configured:
        layers.append(Middleware(RequestSpans, tracing=tracing, root_path=root_path))
    if sentry is not None and sentry.configured:
        layers.append(Middleware(SentryRequests, sentry=sentry, root_path=root_path))
    if access_log:
        layers.append(Middleware(AccessLogMiddleware))
    return [
        *layers,
        Middleware(
            CORSMiddleware,
            allow_origins=cors.allow_origins,
            allow_methods=cors.allow_methods,
            allow_headers=cors.allow_headers,
            allow_credentials=cors.allow_credentials,
            expose_headers=("X-Request-ID",),
        ),
        Middleware(MetricsMiddleware, metrics=metrics),
        Middleware(ErrorMiddleware),
    ]


class RequestIdMiddleware:
    """Names each request and tells the name in the answer; makes paths below `root_path` work too."""

    def __init__(self, app: ASGIApp, *, root_path: str = "") -> None:
        self.app = app
        self.root_path = root_path

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        given = next((value for name, value in scope["headers"] if name == b"x-request-id"), None)
        request_id = scope["request_id"] = request_id_from(given)
        if self.root_path:
            scope["root_path"] = self.root_path
        # Never reset: the server logs a broken response after this layer has ended.
        current_request_id.set(request_id)
        header = (b"x-request-id", request_id.encode("ascii"))

        async def send_named(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message.get("headers", ()), header]
            await send(message)

        await self.app(scope, receive, send_named)


class Observer(ABC):
    """Sees the status of each response and how long it took."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    @abstractmethod
    def observed(self, scope: Scope, status: int, seconds: float) -> None: ...

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        started = perf_counter()
        status = CLIENT_CLOSED_REQUEST

        async def send_observed(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            await self.app(scope, receive, send_observed)
        finally:
            self.observed(scope, status, perf_counter() - started)


class AccessLogMiddleware(Observer):
    """One line for each request. Query strings are left out: they may name a user.

    Probes that succeed come by the second, and are told at DEBUG only.
    """

    def observed(self, scope: Scope, status: int, seconds: float) -> None:
        probe = getattr(scope.get("route"), "path", None) in PROBES and status < 400
        level = logging.DEBUG if probe else logging.INFO
        access.log(level, "%s %s %d %.1f ms", scope["method"], scope["path"], status, seconds * 1000)


class MetricsMiddleware(Observer):
    """Counts and times each request by the template of its route, never by its raw path."""

    def __init__(self, app: ASGIApp, *, metrics: Metrics) -> None:
        super().__init__(app)
        self.metrics = metrics

    def observed(self, scope: Scope, status: int, seconds: float) -> None:
        path = getattr(scope.get("route"), "path", UNMATCHED)
        self.metrics.response(scope["method"], path, status, seconds)


class ErrorMiddleware:
    """Answers any exception that nothing else handles with a 500 that tells no details."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        started = False

        async def send_observed(message: Message) -> None:
            nonlocal started
            started = True
            await send(message)

        try:
            await self.app(scope, receive, send_observed)
        except ClientDisconnect:
            log.debug("The client left before the response was complete")
        except Exception:
            # The server logs what is raised here, and cuts the connection.
            if started:
                raise
            log.exception("%s %s failed", scope["method"], scope["path"])
            await internal_error_response()(scope, receive, send_observed)
