"""What has to be looked at again and again, because nothing tells of it."""

import asyncio
from collections.abc import Callable

from lightspeed.telemetry.metrics import Metrics

_PERIOD = 0.25  # seconds


class Pulse:
    """Measures how late the event loop is, and how many turns wait to be recorded."""

    def __init__(self, metrics: Metrics, waiting: Callable[[], int]) -> None:
        self._metrics = metrics
        self._waiting = waiting

    async def run(self) -> None:
        """Goes on until it is cancelled."""
        clock = asyncio.get_running_loop().time
        while True:
            due = clock() + _PERIOD
            await asyncio.sleep(_PERIOD)
            self._metrics.event_loop_delay(max(0.0, clock() - due))
            self._metrics.turns.waiting(self._waiting())
