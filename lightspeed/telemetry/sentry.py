"""Error reports to Sentry, where the environment names a project and the package is installed."""

import logging
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from anyio import to_thread

from lightspeed import __version__
from lightspeed.telemetry.redaction import redact

if TYPE_CHECKING:
    from sentry_sdk import Client

logger = logging.getLogger(__name__)

DSN_VARIABLE = "SENTRY_DSN"
ENVIRONMENT_VARIABLE = "SENTRY_ENVIRONMENT"
CERTIFICATES_VARIABLE = "SENTRY_CA_CERTS"

RELEASE = f"lightspeed-stack@{__version__}"
DEFAULT_ENVIRONMENT = "development"
SAMPLED = 0.25
NEVER_SAMPLED = frozenset({"/", "/readiness", "/liveness", "/metrics"})

_CLOSES_WITHIN = 2.0  # seconds


class SentryTransaction:
    """The transaction of one request."""

    def __init__(self, transaction: Any) -> None:
        self._transaction = transaction

    def answered(self, method: str, route: str, status: int) -> None:
        """`route` is the template of the route: a path may hold the id of a conversation."""
        self._transaction.name = f"{method} {route}"
        self._transaction.source = "route"
        self._transaction.set_http_status(status)


class Sentry:
    """Reports what is logged as an error, and samples of how long requests take, between `open()` and `close()`.

    The client belongs to one application and is found through the context: the process is left as it is. Requests,
    local variables and the arguments of log lines are never sent, and secrets are masked.
    """

    def __init__(self, environment: Mapping[str, str] = os.environ) -> None:
        self._environment = environment
        self._client: Client | None = None

    @property
    def configured(self) -> bool:
        return bool(self._environment.get(DSN_VARIABLE))

    async def open(self) -> None:
        """Make the client in a thread. What goes wrong is logged."""
        if not self.configured:
            return
        try:
            self._client = await to_thread.run_sync(self._make_client)
        except ImportError:
            logger.warning(
                "No errors are reported to Sentry: %s is set, but the package sentry-sdk is missing "
                "(it comes with the extra `sentry`)",
                DSN_VARIABLE,
            )
        except Exception as error:
            # Not its text: that may hold the DSN.
            logger.debug("Sentry cannot be used", exc_info=True)
            logger.warning("No errors are reported to Sentry: %s", type(error).__name__)

    async def close(self, limit: float = _CLOSES_WITHIN) -> None:
        """Send what waits, for at most `limit` seconds."""
        client, self._client = self._client, None
        if client is not None:
            await to_thread.run_sync(client.close, limit)

    @contextmanager
    def reporting(self) -> Iterator[None]:
        """Whatever is logged in this block, and in tasks and threads that it starts, is reported."""
        if self._client is None:
            yield
            return
        import sentry_sdk

        with sentry_sdk.isolation_scope() as scope:
            scope.set_client(self._client)
            yield

    @contextmanager
    def transaction(
        self, method: str, path: str, headers: Mapping[str, str], request_id: str | None
    ) -> Iterator[SentryTransaction | None]:
        """The work for one request; None when nothing is reported. `path` is without the root path."""
        if self._client is None:
            yield None
            return
        import sentry_sdk

        with self.reporting():
            sentry_sdk.get_isolation_scope().set_tag("request_id", request_id)
            begun = sentry_sdk.continue_trace(headers, op="http.server", name=method, source="route")
            context = {"method": method, "path": path}
            with sentry_sdk.start_transaction(begun, custom_sampling_context=context) as transaction:
                yield SentryTransaction(transaction)

    def _make_client(self) -> "Client":
        import sentry_sdk
        from sentry_sdk.integrations.logging import LoggingIntegration

        return sentry_sdk.Client(
            dsn=self._environment[DSN_VARIABLE],
            environment=self._environment.get(ENVIRONMENT_VARIABLE) or DEFAULT_ENVIRONMENT,
            release=RELEASE,
            ca_certs=self._certificates(),
            traces_sampler=_sample_rate,
            default_integrations=False,
            auto_enabling_integrations=False,
            integrations=[LoggingIntegration(level=logging.INFO, event_level=logging.ERROR)],
            include_local_variables=False,
            max_request_body_size="never",
            auto_session_tracking=False,
            send_client_reports=False,
            shutdown_timeout=_CLOSES_WITHIN,
            before_send=_without_secrets,
            before_breadcrumb=_redacted_breadcrumb,
        )

    def _certificates(self) -> str | None:
        given = self._environment.get(CERTIFICATES_VARIABLE)
        if not given:
            return None
        if not Path(given).is_file():
            logger.warning("%s: no such file; the usual certificates are used", CERTIFICATES_VARIABLE)
            return None
        return given


def _sample_rate(context: Mapping[str, Any]) -> float:
    sampled = context.get("method") == "POST" and context.get("path") not in NEVER_SAMPLED
    return SAMPLED if sampled else 0.0


def _without_secrets(event: Any, _: Any) -> Any:
    event.pop("extra", None)
    if "logentry" in event:
        entry = event["logentry"]
        event["logentry"] = {"message": redact(str(entry.get("formatted") or entry.get("message") or ""))}
    for exception in event.get("exception", {}).get("values", ()):
        exception["value"] = redact(str(exception.get("value") or ""))
    return event


def _redacted_breadcrumb(breadcrumb: Any, _: Any) -> Any:
    return {**breadcrumb, "message": redact(str(breadcrumb.get("message") or "")), "data": {}}
