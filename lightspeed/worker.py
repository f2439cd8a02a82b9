"""The life of one worker process: it answers on a socket that it shares, and ends with its parent."""

import logging
import os
import signal
import socket
import threading
import time
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path

from lightspeed.errors import ConfigurationError, LightspeedError, StartupError
from lightspeed.plan import Plan
from lightspeed.runtime import WorkerPlace
from lightspeed.server import GRACE_SECONDS, Server
from lightspeed.telemetry.logging import configure_logging
from lightspeed.telemetry.metrics_shared import SharedFolder

logger = logging.getLogger(__name__)

STOPS_WITHIN = GRACE_SECONDS + 10  # seconds from SIGTERM to SIGKILL
PARENTS_SIGNALS = (signal.SIGINT, signal.SIGHUP)  # a terminal sends these to the workers, too


@dataclass(frozen=True)
class Assignment:
    """What a worker is told, through a pipe: the plan holds secrets.

    `load_first`: it accepts connections only when it can answer questions.
    """

    plan: Plan
    place: WorkerPlace
    load_first: bool
    log_level: str
    verbose: bool


def work(channel: Connection, listener: socket.socket) -> None:
    """Take an Assignment from the channel and fulfil it until a signal comes or the parent is gone.

    Sends True when questions can be answered, or the LightspeedError for which that cannot be.
    """
    for number in PARENTS_SIGNALS:
        signal.signal(number, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, PARENTS_SIGNALS)
    try:
        assignment: Assignment = channel.recv()
    except (EOFError, OSError):  # the parent is gone
        return
    threading.Thread(target=_end_with_parent, args=(channel, assignment.place.metrics), daemon=True).start()
    plan = assignment.plan
    configure_logging(
        assignment.log_level,
        verbose=assignment.verbose,
        color=None if plan.configuration.service.color_log else False,
        log_format=plan.configuration.service.log_format,
    )
    try:
        Server(
            plan,
            listener,
            place=assignment.place,
            load_first=assignment.load_first,
            on_ready=lambda: _tell(channel, True),
        ).answer()
    except (Exception, SystemExit) as error:
        logger.debug("The worker did not start", exc_info=True)
        _tell(channel, portable(error))


def _end_with_parent(channel: Connection, metrics: Path | None) -> None:
    with suppress(EOFError, OSError):
        channel.recv()  # nothing comes any more but the end
    if metrics is not None:
        SharedFolder(metrics).remove()  # what is open can still be written
    signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGTERM)
    time.sleep(STOPS_WITHIN)
    os.kill(os.getpid(), signal.SIGKILL)


def _tell(channel: Connection, message: object) -> None:
    with suppress(OSError):  # a parent that is gone
        channel.send(message)


def portable(error: BaseException) -> LightspeedError:
    """An error of the same text and exit code that survives a pipe; not every kind can be made from its text alone."""
    if isinstance(error, ConfigurationError):
        return ConfigurationError(error.problems)
    if isinstance(error, StartupError):
        return StartupError(str(error))
    if isinstance(error, LightspeedError):
        return LightspeedError(str(error))
    if isinstance(error, SystemExit):
        return StartupError("the application cannot start; the log says why")
    return LightspeedError(f"{type(error).__name__}: {' '.join(str(error).split())} (-v tells more)")
