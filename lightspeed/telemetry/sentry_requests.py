"""A Sentry transaction for each request."""

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from lightspeed.telemetry.sentry import Sentry

_PROPAGATED = (b"sentry-trace", b"baggage")


class SentryRequests:
    """Makes errors and samples of requests known to Sentry. Below `root_path` the path begins."""

    def __init__(self, app: ASGIApp, *, sentry: Sentry, root_path: str = "") -> None:
        self.app = app
        self.sentry = sentry
        self.root_path = root_path

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        status = 500

        async def send_observed(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        method, path = scope["method"], scope["path"].removeprefix(self.root_path) or "/"
        headers = {
            name.decode("latin-1"): value.decode("latin-1")
            for name, value in scope["headers"]
            if name in _PROPAGATED
        }
        with self.sentry.transaction(method, path, headers, scope.get("request_id")) as transaction:
            try:
                await self.app(scope, receive, send_observed)
            finally:
                if transaction is not None:
                    route = getattr(scope.get("route"), "path", "unmatched")
                    transaction.answered(method, route, status)
