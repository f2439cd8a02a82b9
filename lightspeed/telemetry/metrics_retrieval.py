"""What is counted of searches."""

from lightspeed.telemetry.metrics_families import SHORT, Families

OTHER_STORES = "other"  # those that no configuration names: users make as many as they like

_CHUNKS = (0.0, 1.0, 2.0, 5.0, 10.0, 20.0, 50.0)


class RetrievalMetrics:
    """Searches by knowledge store. Durations are in seconds."""

    def __init__(self, families: Families) -> None:
        self._durations = families.histogram(
            "lightspeed_retrieval_duration_seconds",
            "Time that the search of a knowledge store took.",
            "store",
            bounds=SHORT,
        )
        self._chunks = families.histogram(
            "lightspeed_retrieval_chunks",
            "Passages that the search of a knowledge store found.",
            "store",
            bounds=_CHUNKS,
        )
        self._failures = families.counter(
            "lightspeed_retrieval_failures_total",
            "Searches for which a knowledge store was left out.",
            "store",
        )

    def search(self, store: str, found: int | None, duration: float) -> None:
        """One search of one store; `found` is None when it has failed. `store` has been configured, or is OTHER_STORES."""
        self._durations[store,].observe(duration)
        if found is None:
            self._failures[store,].inc()
        else:
            self._chunks[store,].observe(found)
