"""Several worker processes behind one socket, and the parent that keeps them running."""

import asyncio
import logging
import multiprocessing
import os
import signal
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from multiprocessing import resource_tracker

from lightspeed.errors import LightspeedError, StartupError
from lightspeed.plan import Plan
from lightspeed.runtime import WorkerPlace
from lightspeed.server import listen
from lightspeed.telemetry.metrics_shared import SharedFolder
from lightspeed.worker import PARENTS_SIGNALS, STOPS_WITHIN, Assignment, work

logger = logging.getLogger(__name__)

_SHORTEST_PAUSE, _LONGEST_PAUSE = 0.1, 10.0  # seconds before a worker that ended is started again

_spawn = multiprocessing.get_context("spawn")


def supervise(plan: Plan, announce: Callable[[str, int], str]) -> int:
    """Serve in `service.workers` processes until a signal comes; returns the exit code.

    `announce` makes the first log line of address and port. Raises ConfigurationError when the address cannot be
    listened on, and the LightspeedError for which a worker cannot start. Ends by SIGTERM as a process that does not
    catch it, after all workers have ended.
    """
    with listen(plan.configuration.service) as listener, SharedFolder.temporary() as metrics:
        logger.info("%s", announce(*listener.getsockname()[:2]))
        try:
            number = asyncio.run(_Supervisor(plan, listener, metrics).run())
        except KeyboardInterrupt:
            return 0
    if number != signal.SIGINT:
        signal.raise_signal(number)
    return 0


class _Supervisor:
    """Keeps a worker in each place."""

    def __init__(self, plan: Plan, listener: socket.socket, metrics: SharedFolder) -> None:
        self._plan = plan
        self._listener = listener
        self._metrics = metrics
        self._workers: list[_Worker] = []
        self._turn = asyncio.Lock()  # one worker at a time makes databases and loads models
        self._retiring: set[asyncio.Task[None]] = set()
        self._in_terminal = os.isatty(0)

    async def run(self) -> int:
        """Returns the number of the signal that ended it. Raises LightspeedError if a worker cannot start."""
        loop = asyncio.get_running_loop()
        self._end: asyncio.Future[int] = loop.create_future()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._stop, number)
        loop.add_signal_handler(signal.SIGHUP, self._hang_up)
        resource_tracker.ensure_running()  # later it would unblock what `_blocked` blocks
        count = self._plan.configuration.service.workers
        places = [WorkerPlace(index, count, self._metrics.path) for index in range(count)]
        keepers = [asyncio.create_task(self._keep(place)) for place in places]
        for keeper in keepers:
            keeper.add_done_callback(self._give_up)
        try:
            return await self._end
        finally:
            self._listener.close()
            for keeper in keepers:
                keeper.cancel()
            await asyncio.gather(*keepers, return_exceptions=True)
            await asyncio.gather(*(worker.stop() for worker in self._workers))

    def _stop(self, number: int) -> None:
        if not self._end.done():
            self._end.set_result(number)
            return
        for worker in self._workers:
            worker.kill()

    def _hang_up(self) -> None:
        if self._in_terminal and not os.isatty(0):
            self._stop(signal.SIGHUP)
            return
        logger.info("SIGHUP: every worker is replaced")
        for worker in self._workers:
            if worker.ready:
                worker.replace()

    def _give_up(self, keeper: asyncio.Task[None]) -> None:
        if not keeper.cancelled() and (failure := keeper.exception()) and not self._end.done():
            self._end.set_exception(failure)

    async def _keep(self, place: WorkerPlace) -> None:
        """Raises LightspeedError if the first worker of this place cannot start, or a later one and nobody answers."""
        current: _Worker | None = None
        first, since, pause = True, 0.0, _SHORTEST_PAUSE
        while True:
            try:
                successor = await self._start(place)
            except LightspeedError as error:
                if first or not self._answering:
                    raise
                logger.error("Worker %d cannot start: %s", place.index, error)
                successor = None
            if successor is not None:
                if current is not None:
                    self._retire(current)
                current, first, since = successor, False, time.monotonic()
            if current is not None:
                if not await current.ended():
                    continue
                logger.error("%s ended: %s", current, current.ending)
                current = None
                if time.monotonic() - since > _LONGEST_PAUSE:
                    pause = _SHORTEST_PAUSE
            await asyncio.sleep(pause)
            pause = min(2 * pause, _LONGEST_PAUSE)

    async def _start(self, place: WorkerPlace) -> "_Worker | None":
        """A worker that is ready; None if it died. Raises LightspeedError if it cannot start."""
        async with self._turn:
            # While nobody answers, it does so at once, if only that it is loading.
            assignment = Assignment(
                self._plan,
                place,
                self._answering,
                logging.getLevelName(logging.getLogger("lightspeed").level),
                logging.getLogger().level == logging.DEBUG,
            )
            try:
                worker = _Worker(assignment, self._listener, self._metrics)
            except OSError as error:
                raise StartupError(f"cannot start a worker process: {error.strerror}") from None
            self._workers = [*(other for other in self._workers if other.alive), worker]
            await worker.settled.wait()
        if worker.ready:
            logger.info("%s is ready", worker)
            return worker
        if worker.failure is not None:
            self._retire(worker)
            raise worker.failure
        logger.error("%s ended before it was ready: %s", worker, worker.ending)
        return None

    @property
    def _answering(self) -> bool:
        return any(worker.ready for worker in self._workers)

    def _retire(self, worker: "_Worker") -> None:
        task = asyncio.create_task(worker.stop())
        self._retiring.add(task)
        task.add_done_callback(self._retiring.discard)


class _Worker:
    """One worker process, seen from its parent."""

    def __init__(self, assignment: Assignment, listener: socket.socket, metrics: SharedFolder) -> None:
        """Raises OSError when no process can be made."""
        self.settled = asyncio.Event()  # ready, failed, or gone
        self.failure: LightspeedError | None = None
        self.ending = ""
        self._place = assignment.place
        self._metrics = metrics
        self._told_ready = False
        self._gone = asyncio.Event()
        self._leave = asyncio.Event()  # gone, or to be replaced
        self._channel, theirs = multiprocessing.Pipe()
        self._process = _spawn.Process(target=work, args=(theirs, listener))
        with theirs, _blocked():
            self._process.start()
        self._pid = self._process.pid
        with suppress(OSError):  # it is gone already, which `_hear` will notice
            self._channel.send(assignment)
        asyncio.get_running_loop().add_reader(self._channel.fileno(), self._hear)

    def __str__(self) -> str:
        return f"Worker {self._place.index} (pid {self._pid})"

    @property
    def alive(self) -> bool:
        return not self._gone.is_set()

    @property
    def ready(self) -> bool:
        return self._told_ready and self.alive

    async def ended(self) -> bool:
        """Returns when it has ended, or False when it is to be replaced."""
        if self.alive:
            self._leave.clear()
        await self._leave.wait()
        return not self.alive

    def replace(self) -> None:
        self._leave.set()

    async def stop(self) -> None:
        """Let it end what it is answering, and kill it if that takes too long."""
        if self.alive:
            self._process.terminate()
        try:
            async with asyncio.timeout(STOPS_WITHIN):
                await self._gone.wait()
        except TimeoutError:
            logger.error("%s did not end in %d s and is killed", self, STOPS_WITHIN)
            self.kill()
            await self._gone.wait()

    def kill(self) -> None:
        if self.alive:
            self._process.kill()

    def _hear(self) -> None:
        try:
            message = self._channel.recv()
        except (EOFError, OSError):
            self._bury()
            return
        if isinstance(message, LightspeedError):
            self.failure = message
        else:
            self._told_ready = True
        self.settled.set()

    def _bury(self) -> None:
        """The channel has ended, as it does only with the process."""
        asyncio.get_running_loop().remove_reader(self._channel.fileno())
        self._channel.close()
        self._process.join()
        code = self._process.exitcode or 0
        self.ending = signal.Signals(-code).name if code < 0 else f"exit code {code}"
        self._process.close()
        if self._pid is not None:
            # At once: the next process may have the same id.
            self._metrics.bury(self._pid)
        for event in (self._gone, self.settled, self._leave):
            event.set()


@contextmanager
def _blocked() -> Iterator[None]:
    """A process that is made here is not reached by Ctrl-C until it can deal with it."""
    signal.pthread_sigmask(signal.SIG_BLOCK, PARENTS_SIGNALS)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, PARENTS_SIGNALS)
