"""A server in this process that answers what a test says, over real HTTP: for what a real stack does only rarely."""

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import anyio
import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route


@dataclass
class SmallServer:
    """`answers` maps a path below `/v1` to an answer; `seen` are the headers of all requests, `peers` their ports."""

    answers: dict[str, Response] = field(default_factory=dict)
    seen: list[Mapping[str, str]] = field(default_factory=list)
    peers: list[int] = field(default_factory=list)
    url: str = ""

    def answer(self, path: str, body: Any, status: int = 200, **headers: str) -> None:
        self.answers[path] = JSONResponse(body, status, headers)

    async def respond(self, request: Request) -> Response:
        self.seen.append(dict(request.headers))
        assert request.client is not None
        self.peers.append(request.client.port)
        path = request.url.path.partition("/v1")[2]
        return self.answers.get(path) or JSONResponse({"detail": "Not Found"}, 404)


@asynccontextmanager
async def small_server() -> AsyncIterator[SmallServer]:
    small = SmallServer()
    small.answer("/version", {"version": "0.7.3"})
    small.answer("/models", {"data": []})
    app = Starlette(routes=[Route("/{path:path}", small.respond, methods=["GET", "POST", "DELETE"])])
    config = uvicorn.Config(app, host="127.0.0.1", port=0, log_config=None, lifespan="off", ws="none")
    server = uvicorn.Server(config)
    server.install_signal_handlers = lambda: None  # type: ignore[attr-defined]
    async with anyio.create_task_group() as group:
        group.start_soon(server._serve)
        while not server.started:  # noqa: ASYNC110 - it has no event
            await anyio.sleep(0.005)
        port = server.servers[0].sockets[0].getsockname()[1]
        small.url = f"http://127.0.0.1:{port}"
        try:
            yield small
        finally:
            server.should_exit = True
            server.force_exit = True
