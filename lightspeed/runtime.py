"""The service from its first moment on: loading in the background, ready, or failed."""

import asyncio
import gc
import logging
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from lightspeed.errors import LightspeedError, NotReady, StartupError
from lightspeed.plan import Plan
from lightspeed.services import Services, start_services
from lightspeed.telemetry.metrics import Metrics
from lightspeed.telemetry.tracing import NO_TRACES, Tracing

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class WorkerPlace:
    """Which of the service's processes this is: `index` of 0 to `count` - 1. A successor has the same place.

    `metrics` is the folder in which all of them count together.
    """

    index: int = 0
    count: int = 1
    metrics: Path | None = None


ALONE = WorkerPlace()


class Runtime:
    """What handlers receive. Answers while the models load; `services` raises NotReady until they have."""

    def __init__(
        self,
        plan: Plan,
        metrics: Metrics,
        on_failure: Callable[[LightspeedError], None] = lambda _: None,
        *,
        on_ready: Callable[[], None] = lambda: None,
        place: WorkerPlace = ALONE,
        tracing: Tracing = NO_TRACES,
    ) -> None:
        self.plan = plan
        self.place = place
        self.configuration = plan.configuration
        self.metrics = metrics
        self._tracing = tracing
        self._on_failure = on_failure
        self._on_ready = on_ready
        self._phase = "starting"
        self._services: Services | None = None
        self._failure: LightspeedError | None = None
        self._start: asyncio.Task[None] | None = None

    @property
    def ready(self) -> bool:
        return self._services is not None

    @property
    def phase(self) -> str:
        """What the service is doing until it is ready, for people."""
        return str(self._failure) if self._failure else self._phase

    @property
    def services(self) -> Services:
        if self._services is None:
            raise NotReady(f"The service is still {self.phase}.", headers={"Retry-After": "2"})
        return self._services

    def begin(self) -> None:
        """Start everything in the background."""
        self._start = asyncio.create_task(self._load(), name="start of the services")

    async def wait(self) -> None:
        if self._start is not None:
            await asyncio.wait([self._start])

    async def close(self, grace: float = 2.0) -> None:
        if self._start is not None and not self._start.done():
            self._start.cancel()
            await asyncio.wait([self._start])
        if self._services is not None:
            services, self._services = self._services, None
            self._phase = "stopping"
            self.metrics.ready(False)
            await services.close(grace)

    async def _load(self) -> None:
        started = time.perf_counter()
        try:
            self._services = await start_services(self.plan, self.metrics, self._tell, self._tracing)
        except asyncio.CancelledError:
            return
        except LightspeedError as error:
            self._failure = error
        except Exception as error:
            logger.debug("The start failed", exc_info=True)
            self._failure = StartupError(f"the service cannot start: {type(error).__name__}: {error}")
        if self._failure is not None:
            self._on_failure(self._failure)
        else:
            # What the stack has imported stays for good: without this, each full collection walks through it all.
            gc.collect()
            gc.freeze()
            self.metrics.ready(True)
            logger.info("Ready after %.1f s", time.perf_counter() - started)
            self._on_ready()

    def _tell(self, phase: str) -> None:
        self._phase = phase
        logger.info("Start: %s", phase)
