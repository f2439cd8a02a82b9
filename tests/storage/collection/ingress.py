"""A server that receives archives, in a thread of its own."""

import gzip
import io
import socket
import tarfile
import threading
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Self

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from tests.scripted_model.moment import Moment

_HOST = "127.0.0.1"


@dataclass(frozen=True)
class Reply:
    """What the server answers."""

    status: int = 202
    headers: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Upload:
    """One request that arrived whole, and the status that it was answered with."""

    name: str
    part_type: str
    headers: dict[str, str]
    archive: bytes
    status: int

    def members(self) -> list[tarfile.TarInfo]:
        with tarfile.open(fileobj=io.BytesIO(self.archive)) as archive:
            return archive.getmembers()

    def files(self) -> dict[str, bytes]:
        """Content by name."""
        found = {}
        with tarfile.open(fileobj=io.BytesIO(gzip.decompress(self.archive))) as archive:
            for member in archive.getmembers():
                content = archive.extractfile(member)
                assert content is not None
                found[member.name] = content.read()
        return found


class _Server(uvicorn.Server):
    """Stops at once; uvicorn's own loops sleep a tenth of a second, and wait for clients."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.stop = Moment()

    async def main_loop(self) -> None:
        await self.stop.wait(timeout=None)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        for server in self.servers:
            server.close()
        for connection in list(self.server_state.connections):
            connection.transport.abort()


class IngressServer:
    """Answers with `replies` in turn, then with `default`, while its `with` block lasts.

    `on_upload` is called when a request has arrived, before it is answered.
    """

    def __init__(self, *replies: Reply, default: Reply | None = None) -> None:
        self.replies = deque(replies)
        self.default = default or Reply()
        self.uploads: list[Upload] = []
        self.on_upload: Callable[[Upload], None] = lambda _: None
        self._listener = socket.create_server((_HOST, 0), backlog=64)
        self.port = self._listener.getsockname()[1]
        routes = [Route("/upload", self._receive, methods=["GET", "POST"])]
        self._server = _Server(
            uvicorn.Config(Starlette(routes=routes), log_config=None, access_log=False, lifespan="off")
        )
        self._thread = threading.Thread(target=self._server.run, args=([self._listener],), daemon=True)

    @property
    def url(self) -> str:
        return f"http://{_HOST}:{self.port}/upload"

    @property
    def confirmed(self) -> list[Upload]:
        return [upload for upload in self.uploads if 200 <= upload.status < 300]

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.stop.set()
        self._thread.join()
        self._listener.close()

    async def _receive(self, request: Request) -> Response:
        async with request.form() as form:
            [(key, part)] = form.multi_items()
            assert key == "file"
            assert not isinstance(part, str)
            reply = self.replies.popleft() if self.replies else self.default
            upload = Upload(
                part.filename or "",
                part.content_type or "",
                dict(request.headers),
                await part.read(),
                reply.status,
            )
        self.on_upload(upload)
        self.uploads.append(upload)
        return Response(status_code=reply.status, headers=reply.headers)
