"""The scripted model as a server in a thread of its own."""

import asyncio
import socket
import threading
from collections.abc import Callable, Sequence
from typing import Any, Self

import anyio.to_thread
import uvicorn
import uvloop
from starlette.types import ASGIApp

from tests.scripted_model.app import build
from tests.scripted_model.error import ApiError
from tests.scripted_model.moment import Moment
from tests.scripted_model.protocol import CuttableProtocol
from tests.scripted_model.reply import Reply
from tests.scripted_model.script import CHAT, Answer, Received, Script

_HOST = "127.0.0.1"


class ScriptedModel:
    """A model server on a free port of this machine, running while its `with` block does.

    Chat requests are answered by `replies` in turn, then by `default` for ever. An answer may be a
    function from the request's body to a Reply. The official SDK repeats requests that fail with 429 or
    5xx: queue such a reply as many `times` as it is to be seen. Entering the block a second time listens
    on the same port again, so that a provider can go away and come back.
    """

    def __init__(
        self,
        *replies: Answer,
        default: Answer | None = None,
        models: Sequence[str] = ("scripted",),
        embedding_models: Sequence[str] = ("scripted-embedding",),
        embedding_dimension: int = 384,
        api_key: str | None = None,
        port: int = 0,
        record: bool = True,
    ) -> None:
        self.port = port
        self._script = Script(default or Reply("A scripted answer."), record=record)
        self._script.queue.extend(replies)
        self.app: ASGIApp = build(
            self._script,
            models=models,
            embedding_models=embedding_models,
            embedding_dimension=embedding_dimension,
            api_key=api_key,
        )
        self._thread: threading.Thread | None = None
        self._stop = Moment()

    @property
    def base_url(self) -> str:
        """What a client is given as its base URL; ends with `/v1`."""
        return f"http://{_HOST}:{self.port}/v1"

    @property
    def requests(self) -> list[Received]:
        """All that was received, oldest first."""
        return list(self._script.requests)

    @property
    def chats(self) -> list[Received]:
        """The requests for chat completions among `requests`."""
        return [request for request in self.requests if request.path == CHAT]

    @property
    def failures(self) -> dict[str, ApiError]:
        """Paths, like `/v1/models`, that answer with an error for as long as they stand here."""
        return self._script.failures

    def queue[A: Answer](self, answer: A, *, times: int = 1) -> A:
        """Add to the queue; returns `answer`."""
        self._script.queue.extend([answer] * times)
        return answer

    def when[A: Answer](self, matches: Callable[[dict[str, Any]], bool], answer: A) -> A:
        """Answer the requests whose body `matches` with `answer`, before the queue; returns `answer`."""
        self._script.rules.append((matches, answer))
        return answer

    def default(self, answer: Answer) -> None:
        """Replace the answer for when the queue is empty."""
        self._script.default = answer

    async def wait_for_request(self, number: int = 1, *, path: str = CHAT, timeout: float = 30) -> Received:
        """The request with that number (from 1) to `path`, once it is received. Raises TimeoutError."""
        return await asyncio.wait_for(asyncio.wrap_future(self._script.expect(number, path)), timeout)

    def wait_for_request_blocking(
        self, number: int = 1, *, path: str = CHAT, timeout: float = 30
    ) -> Received:
        return self._script.expect(number, path).result(timeout)

    def start(self) -> None:
        # The socket listens before the thread runs: nobody has to wait for the server.
        listener = socket.create_server((_HOST, self.port), backlog=512)
        self.port = listener.getsockname()[1]
        self._stop = Moment()
        server = _Server(server_config(self.app), self._stop)
        self._thread = threading.Thread(target=_run, args=(server, listener), daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Close all connections, also those in the middle of a reply."""
        thread, self._thread = self._thread, None
        if thread is not None:
            self._stop.set()
            thread.join()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    async def __aenter__(self) -> Self:
        self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        with anyio.CancelScope(shield=True):
            await anyio.to_thread.run_sync(self.stop)


def server_config(app: ASGIApp, port: int = 0) -> uvicorn.Config:
    return uvicorn.Config(
        app,
        host=_HOST,
        port=port,
        http=CuttableProtocol,
        ws="none",
        lifespan="off",
        log_config=None,
        access_log=False,
        date_header=False,
        server_header=False,
        timeout_keep_alive=75,
    )


class _Server(uvicorn.Server):
    """Stops at once; uvicorn's own loops sleep a tenth of a second, and wait for clients."""

    def __init__(self, config: uvicorn.Config, stop: Moment) -> None:
        super().__init__(config)
        self._stop = stop

    async def main_loop(self) -> None:
        await self._stop.wait(timeout=None)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        for server in self.servers:
            server.close()
        for connection in list(self.server_state.connections):
            connection.transport.abort()
        while self.server_state.connections or self.server_state.tasks:  # noqa: ASYNC110 - they have no event
            await asyncio.sleep(0)


def _run(server: _Server, listener: socket.socket) -> None:
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner, listener:
        runner.run(server.serve([listener]))
