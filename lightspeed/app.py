"""The Starlette application: middleware, routes, and the life of the services behind them."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

from starlette.applications import Starlette
from starlette.requests import Request

from lightspeed import __version__
from lightspeed.api import (
    approvals,
    authorized,
    config,
    conversations,
    conversations_v2,
    feedback,
    files,
    health,
    info,
    mcp_auth,
    mcp_servers,
    metrics,
    models,
    prompts,
    providers,
    query,
    rags,
    saved_prompts,
    shields,
    skills,
    streaming_query,
    tools,
    turns,
    vector_store_files,
    vector_stores,
)
from lightspeed.api.docs import Documentation
from lightspeed.api.errors import exception_handlers
from lightspeed.api.feedback_switch import FeedbackSwitch
from lightspeed.api.gates import Gates
from lightspeed.api.middleware import Cors, middleware
from lightspeed.api.routing import routes
from lightspeed.configuration.service import ServiceConfiguration
from lightspeed.errors import LightspeedError
from lightspeed.identity.access import Authorize
from lightspeed.identity.modules import authentication
from lightspeed.plan import Plan
from lightspeed.runtime import ALONE, Runtime, WorkerPlace
from lightspeed.telemetry.metrics import Metrics
from lightspeed.telemetry.sentry import Sentry
from lightspeed.telemetry.tracing import Tracing

ENDPOINTS = (
    *query.ENDPOINTS,
    *streaming_query.ENDPOINTS,
    *conversations.ENDPOINTS,
    *conversations_v2.ENDPOINTS,
    *models.ENDPOINTS,
    *tools.ENDPOINTS,
    *mcp_servers.ENDPOINTS,
    *mcp_auth.ENDPOINTS,
    *approvals.ENDPOINTS,
    *turns.ENDPOINTS,
    *skills.ENDPOINTS,
    *prompts.ENDPOINTS,
    *saved_prompts.ENDPOINTS,
    *shields.ENDPOINTS,
    *providers.ENDPOINTS,
    *rags.ENDPOINTS,
    *vector_stores.ENDPOINTS,
    *vector_store_files.ENDPOINTS,
    *files.ENDPOINTS,
    *feedback.ENDPOINTS,
    *info.ENDPOINTS,
    *config.ENDPOINTS,
    *authorized.ENDPOINTS,
    *health.ENDPOINTS,
    *metrics.ENDPOINTS,
)


def create_app(
    plan: Plan,
    on_failure: Callable[[LightspeedError], None] = lambda _: None,
    *,
    authorize: Authorize | None = None,
    on_ready: Callable[[], None] = lambda: None,
    place: WorkerPlace = ALONE,
    load_first: bool = False,
) -> Starlette:
    """An application of its own for each plan.

    `authorize` replaces the access rules of the configuration.
    `on_ready` hears when questions can be answered, `on_failure` of a start that failed. `load_first`: the startup of
    the lifespan lasts until then, instead of going on in the background.
    """
    service = plan.configuration.service
    authenticate = authentication(plan.configuration.authentication)
    counters = Metrics(place.metrics)
    tracing, sentry = Tracing(), Sentry()

    @asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[dict[str, Runtime]]:
        await asyncio.gather(tracing.open(), sentry.open())
        try:
            with sentry.reporting():
                runtime = Runtime(plan, counters, on_failure, on_ready=on_ready, place=place, tracing=tracing)
                runtime.begin()
                if load_first:
                    await runtime.wait()
                try:
                    yield {"runtime": runtime}
                finally:
                    await runtime.close()
        finally:
            await asyncio.gather(tracing.close(), sentry.close(), authenticate.close())

    gates = Gates.configured(plan.configuration, authenticate, _runtime)
    if authorize is not None:
        gates = replace(gates, authorize=authorize)
    app = Starlette(
        routes=[*routes(ENDPOINTS, gates), *_documentation(plan, authenticate.credentials).routes()],
        middleware=middleware(
            counters,
            cors=_cors(service),
            root_path=service.root_path,
            access_log=service.access_log,
            tracing=tracing,
            sentry=sentry,
        ),
        exception_handlers=exception_handlers(),
        lifespan=lifespan,
    )
    feedback_enabled = plan.configuration.user_data_collection.feedback_enabled
    app.state.feedback_switch = FeedbackSwitch(configured=feedback_enabled)
    return app


def _documentation(plan: Plan, credentials: str | None) -> Documentation:
    title = plan.configuration.name

    def build() -> dict[str, Any]:
        # Imported on the first request: it takes longer than the rest of the application.
        from lightspeed.api.openapi import credentials_scheme, openapi_document

        return openapi_document(
            ENDPOINTS,
            title=title,
            version=__version__,
            root_path=plan.configuration.service.root_path,
            security_schemes=credentials_scheme(credentials),
        )

    return Documentation(build, title=title)


def _runtime(request: Request) -> Runtime:
    runtime: Runtime = request.state.runtime
    return runtime


def _cors(service: ServiceConfiguration) -> Cors:
    cors = service.cors
    return Cors(cors.allow_origins, cors.allow_methods, cors.allow_headers, cors.allow_credentials)
