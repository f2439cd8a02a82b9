"""Serving: the socket, the web server, and the exit code."""

import asyncio
import errno
import logging
import signal
import socket
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import override

import uvicorn
from starlette.applications import Starlette

from lightspeed.app import create_app
from lightspeed.configuration.service import ServiceConfiguration
from lightspeed.errors import ConfigurationError, LightspeedError
from lightspeed.plan import Plan
from lightspeed.runtime import ALONE, WorkerPlace

logger = logging.getLogger(__name__)

GRACE_SECONDS = 15  # for running answers; with what follows a stop takes less than the 30 s of Kubernetes
_LAST_WORDS_SECONDS = 3  # of these, for streams that are interrupted to say so
_BACKLOG = 2048


class Server(uvicorn.Server):
    """The web server of one process. Ends with the reason for which the services could not start, if there is one."""

    failure: LightspeedError | None = None

    def __init__(
        self,
        plan: Plan,
        listener: socket.socket,
        *,
        place: WorkerPlace = ALONE,
        load_first: bool = False,
        on_ready: Callable[[], None] = lambda: None,
    ) -> None:
        """`load_first`: connections are accepted only when questions can be answered."""
        self._sockets = [listener]
        self._load_first = load_first
        app = create_app(plan, self.fail, on_ready=on_ready, place=place, load_first=load_first)
        super().__init__(_server_configuration(plan.configuration.service, app))

    def answer(self) -> None:
        """Answer connections until a signal comes. Raises LightspeedError if the services could not start."""
        self.run(sockets=self._sockets)
        if self.failure is not None:
            raise self.failure

    def fail(self, failure: LightspeedError) -> None:
        self.failure = failure
        self.should_exit = True
        if not self.started:
            self._sockets.clear()  # else uvicorn would still accept connections, for a moment

    @override
    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        if self._load_first and not self.started:
            # Nothing is being answered, and a start cannot be cut short from inside.
            signal.signal(sig, signal.SIG_DFL)
            signal.raise_signal(sig)
        if self.should_exit:
            # Whoever sends a second signal does not want to wait, and not to read of all that is cut off.
            self.force_exit = True
            logging.getLogger("uvicorn.error").setLevel(logging.CRITICAL)
        super().handle_exit(sig, frame)

    @override
    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Let running answers end; those that take too long are interrupted, so that they are recorded and say so."""
        late = asyncio.create_task(self._interrupt_late(), name="interruption of late answers")
        try:
            await super().shutdown(sockets)
        finally:
            late.cancel()

    async def _interrupt_late(self) -> None:
        await asyncio.sleep(GRACE_SECONDS - _LAST_WORDS_SECONDS)
        runtime = self.lifespan.state.get("runtime")
        if runtime is not None and runtime.ready:
            runtime.services.assistant.interrupt_all()


def serve(plan: Plan, announce: Callable[[str, int], str]) -> int:
    """Serve in this process until a signal comes; returns the exit code.

    `announce` makes the first log line of address and port. Raises ConfigurationError when the address cannot be
    listened on. Ends by SIGTERM as a process that does not catch it, after everything has been stopped.
    """
    listener = listen(plan.configuration.service)
    try:
        server = Server(plan, listener)
        logger.info("%s", announce(*listener.getsockname()[:2]))
        server.answer()
    except KeyboardInterrupt:
        return 0
    finally:
        listener.close()
    return 0


def listen(service: ServiceConfiguration) -> socket.socket:
    """A listening socket for host and port. Raises ConfigurationError."""
    where = f"{service.host}:{service.port}"
    try:
        found = socket.getaddrinfo(
            service.host, service.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )
        # `localhost` is both; clients that are given it try IPv4 too, but not all try IPv6.
        family, kind, protocol, _, address = min(found, key=lambda entry: entry[0] != socket.AF_INET)
        listener = socket.socket(family, kind, protocol)
    except OSError as error:
        raise ConfigurationError(f"cannot listen on {where}: {error.strerror}") from None
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
        listener.listen(_BACKLOG)
    except OSError as error:
        listener.close()
        reason = "another program uses this port" if error.errno == errno.EADDRINUSE else error.strerror
        raise ConfigurationError(f"cannot listen on {where}: {reason}") from None
    listener.setblocking(False)
    return listener


def _server_configuration(service: ServiceConfiguration, app: Starlette) -> uvicorn.Config:
    tls = service.tls_config
    password = Path(tls.tls_key_password).read_text().strip() if tls.tls_key_password else None
    return uvicorn.Config(
        app,
        log_config=None,
        access_log=False,
        server_header=False,
        lifespan="on",
        timeout_graceful_shutdown=GRACE_SECONDS,
        ssl_certfile=str(tls.tls_certificate_path) if tls.tls_certificate_path else None,
        ssl_keyfile=str(tls.tls_key_path) if tls.tls_key_path else None,
        ssl_keyfile_password=password,
    )
