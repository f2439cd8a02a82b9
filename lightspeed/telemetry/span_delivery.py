"""Sending spans, with one warning when the collector is away instead of one for each batch."""

import logging
from collections.abc import Sequence
from typing import override

from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult

logger = logging.getLogger(__name__)

_TALKATIVE = (
    "opentelemetry.exporter.otlp.proto.http.trace_exporter",
    "opentelemetry.sdk._shared_internal",  # a full queue
)


class SpanDelivery(SpanExporter):
    """Sends through another exporter, and tells when the collector goes away and comes back."""

    def __init__(self, exporter: SpanExporter) -> None:
        self._exporter = exporter
        self._away = False
        self._reason = ""
        for name in _TALKATIVE:
            logging.getLogger(name).addFilter(self._heard)

    @override
    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        result = self._exporter.export(spans)
        away = result is not SpanExportResult.SUCCESS
        if away and not self._away:
            logger.warning(
                "Traces cannot be delivered, and are dropped while that is so: %s",
                self._reason or "the collector refuses them",
            )
        elif self._away and not away:
            logger.info("Traces are delivered again")
        if not away:
            self._reason = ""
        self._away = away
        return result

    @override
    def shutdown(self) -> None:
        self._exporter.shutdown()
        for name in _TALKATIVE:
            logging.getLogger(name).removeFilter(self._heard)

    @override
    def force_flush(self, timeout_millis: int = 30_000) -> bool:
        return self._exporter.force_flush(timeout_millis)

    def _heard(self, record: logging.LogRecord) -> bool:
        """Keeps the first thing that the SDK says about a failure as the reason, and all of it out of the log."""
        self._reason = self._reason or " ".join(record.getMessage().split())
        return False
