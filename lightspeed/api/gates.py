"""What every request passes before its handler: who asks, how often, and whether that is allowed."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Self

from starlette.requests import Request

from lightspeed.api.endpoint import Access, Endpoint
from lightspeed.configuration.root import Configuration
from lightspeed.identity.access import AccessRules, Authorize, without_rules
from lightspeed.identity.authentication import GUEST, Authentication
from lightspeed.identity.principal import Principal
from lightspeed.identity.rate_limit import RateLimit
from lightspeed.telemetry.request_spans import PROBES


@dataclass(frozen=True)
class Gates:
    """What the application gives to all endpoints.

    `open_paths` are those of endpoints that need no credentials; credentials that are there are checked.
    `rate_limit` hears of each request of a caller to other endpoints than probes, and raises TooManyRequests.
    `services` finds the application's services; it is called once for each request.
    """

    authenticate: Authentication
    authorize: Authorize
    services: Callable[[Request], Any] = lambda request: request.app.state.services
    max_body: int = 10 * 1024 * 1024
    open_paths: frozenset[str] = frozenset()
    rate_limit: Callable[[str], None] | None = None

    async def caller(self, request: Request, endpoint: Endpoint) -> Principal | None:
        """Who asks, or None where nobody is asked. Raises what authentication raises, and TooManyRequests."""
        if endpoint.action is Access.PUBLIC:
            return None
        if endpoint.path in PROBES:
            header = self.authenticate.credentials
            if endpoint.path in self.open_paths and header and not any(request.headers.getlist(header)):
                return GUEST
            return await self.authenticate(request)
        principal = await self.authenticate(request)
        if self.rate_limit is not None:
            self.rate_limit(principal.user_id)
        return principal

    @classmethod
    def configured(
        cls, configuration: Configuration, authenticate: Authentication, services: Callable[[Request], Any]
    ) -> Self:
        """The gates that a configuration asks for."""
        authentication, limits = configuration.authentication, configuration.service.limits
        rules = configuration.authorization.granted if configuration.authorization else {}
        open_paths: set[str] = set()
        if authentication.module != "noop-with-token":
            open_paths.update(("/liveness", "/readiness") if authentication.skip_for_health_probes else ())
            open_paths.update(("/metrics",) if authentication.skip_for_metrics else ())
        per_minute = limits.requests_per_minute
        return cls(
            authenticate,
            AccessRules(rules) if rules else without_rules,
            services,
            max_body=limits.max_body_bytes,
            open_paths=frozenset(open_paths),
            rate_limit=RateLimit(per_minute).take if per_minute else None,
        )
