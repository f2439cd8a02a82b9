"""The small Solr as a server in a thread of its own."""

import asyncio
import socket
import threading
from base64 import b64decode
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Self
from urllib.parse import parse_qs

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from tests.solr_server.collection import HANDLERS, Refused, SolrCollection
from tests.solr_server.corpus import PORTAL, Document

_HOST = "127.0.0.1"


@dataclass(frozen=True)
class Received:
    """A request: the handler, all values of each parameter, who sent it from where."""

    handler: str
    parameters: dict[str, list[str]]
    user: str | None
    connection: tuple[str, int] | None


@dataclass(frozen=True)
class Trouble:
    """What happens instead of an answer: a wait of `seconds`, then a response."""

    status: int = 500
    body: bytes = b""
    content_type: str = "text/html"
    seconds: float = 0.0

    @classmethod
    def hang(cls, seconds: float = 3600) -> Self:
        return cls(seconds=seconds)

    @classmethod
    def garbage(cls, body: bytes = b"<html>Welcome</html>") -> Self:
        return cls(200, body)


class SolrServer:
    """Serves documents on a free port of this machine while its `with` block runs.

    `troubles` are by handler, or `*` for all, for as long as they stand there. `credentials` are asked for if given.
    """

    def __init__(
        self,
        documents: Sequence[Document] = PORTAL,
        *,
        collection: str = "portal-rag",
        credentials: tuple[str, str] | None = None,
        port: int = 0,
    ) -> None:
        self.port = port
        self.requests: list[Received] = []
        self.troubles: dict[str, Trouble] = {}
        self._collection = SolrCollection(documents)
        self._credentials = credentials
        self.app = Starlette(
            routes=[Route(f"/solr/{collection}/{{handler}}", self._serve, methods=["GET", "POST"])]
        )
        self._server: uvicorn.Server | None = None
        self._thread: threading.Thread | None = None

    @property
    def base_url(self) -> str:
        """The portal's address, without `/solr`."""
        return f"http://{_HOST}:{self.port}"

    def received(self, handler: str) -> list[Received]:
        return [request for request in self.requests if request.handler == handler]

    async def _serve(self, request: Request) -> Response:
        handler = request.path_params["handler"]
        text = (await request.body()).decode() if request.method == "POST" else request.url.query
        parameters = parse_qs(text, keep_blank_values=True)
        user, _, password = _basic(request.headers.get("authorization")).partition(":")
        client = request.client
        self.requests.append(
            Received(handler, parameters, user or None, (client.host, client.port) if client else None)
        )
        if self._credentials is not None and (user, password) != self._credentials:
            return Response("Bad credentials", 401)
        trouble = self.troubles.get(handler) or self.troubles.get("*")
        if trouble is not None:
            await asyncio.sleep(trouble.seconds)
            return Response(trouble.body, trouble.status, media_type=trouble.content_type)
        if handler not in HANDLERS:
            return Response("<html>Not Found</html>", 404, media_type="text/html")
        try:
            return JSONResponse(self._collection.answer(handler, parameters))
        except Refused as error:
            return JSONResponse(_refusal(error), 400)

    def start(self) -> None:
        # The socket listens before the thread runs: nobody has to wait for the server.
        listener = socket.create_server((_HOST, self.port), backlog=128)
        self.port = listener.getsockname()[1]
        self._server = uvicorn.Server(server_config(self.app))
        self._thread = threading.Thread(target=self._server.run, args=([listener],), daemon=True)
        self._thread.start()

    def stop(self) -> None:
        if self._server is not None and self._thread is not None:
            self._server.should_exit = self._server.force_exit = True
            self._thread.join()
            self._server = self._thread = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()


def server_config(app: Any, port: int = 0) -> uvicorn.Config:
    return uvicorn.Config(
        app, host=_HOST, port=port, ws="none", lifespan="off", log_config=None, access_log=False
    )


def _basic(header: str | None) -> str:
    return b64decode(header.removeprefix("Basic ")).decode() if header else ""


def _refusal(error: Refused) -> dict[str, Any]:
    return {
        "responseHeader": {"status": 400, "QTime": 0},
        "error": {
            "metadata": ["error-class", "org.apache.solr.common.SolrException"],
            "msg": str(error),
            "code": 400,
        },
    }
