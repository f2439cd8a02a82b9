"""Real MCP servers, made with the MCP SDK, in threads of the test process or, to be killed, in a process of their own."""

import asyncio
import base64
import contextlib
import json
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Literal

import uvicorn
from mcp import types
from mcp.server.lowlevel import NotificationOptions, Server
from mcp.server.sse import SseServerTransport
from mcp.server.streamable_http_manager import StreamableHTTPSessionManager
from starlette.applications import Starlette
from starlette.responses import Response
from starlette.routing import Mount, Route
from starlette.types import ASGIApp, Receive, Scope, Send

HOST = "127.0.0.1"
CHALLENGE = 'Bearer resource_metadata="http://login.example/meta"'


@dataclass
class Seen:
    """What reached a server."""

    requests: list[tuple[str, str, dict[str, str]]] = field(default_factory=list)
    """HTTP method, JSON-RPC method or empty text, and headers with names in lower case."""
    cancelled: threading.Event = field(default_factory=threading.Event)
    started: threading.Event = field(default_factory=threading.Event)

    def methods(self) -> list[str]:
        return [method for _, method, _ in list(self.requests) if method]

    def headers(self, method: str) -> dict[str, str]:
        """Those of the last request of that JSON-RPC method."""
        return [headers for _, name, headers in list(self.requests) if name == method][-1]


@dataclass
class McpAddress:
    """A running server. `tools` may be changed while it runs."""

    url: str
    seen: Seen
    tools: list[types.Tool]


TEXT = {"type": "object", "properties": {"text": {"type": "string"}}, "required": ["text"]}


def tool(name: str, schema: dict[str, Any] = TEXT) -> types.Tool:
    return types.Tool(name=name, description=f"Does {name}.", inputSchema=schema)


def names_of_tools() -> list[types.Tool]:
    names = (
        "echo",
        "fail",
        "wait",
        "huge",
        "control",
        "picture",
        "structured",
        "change",
        "die",
        "nothing",
        "sleep",
    )
    return [tool(name) for name in names]


def make_server(seen: Seen, tools: list[types.Tool]) -> Server[Any, Any]:
    server: Server[Any, Any] = Server("tests")

    @server.list_tools()
    async def list_tools() -> list[types.Tool]:
        return list(tools)

    @server.call_tool(validate_input=False)
    async def call_tool(name: str, arguments: dict[str, Any]) -> Any:
        text = str(arguments.get("text", ""))
        if name == "fail":
            raise ValueError(f"no such host: {text}")
        if name == "wait":
            seen.started.set()
            try:
                await asyncio.sleep(60)
            except asyncio.CancelledError:
                seen.cancelled.set()
                raise
        if name == "huge":
            return [types.TextContent(type="text", text="x" * int(text))]
        if name == "control":
            dirty = 'a\x00b\x1b[31mred\x1b[0m\r\ndata: {"event": "end"}\n\n\u2028\x85c'
            return [types.TextContent(type="text", text=dirty)]
        if name == "picture":
            data = base64.b64encode(b"\x89PNG" * 100).decode()
            return [
                types.TextContent(type="text", text="A picture:"),
                types.ImageContent(type="image", data=data, mimeType="image/png"),
                types.EmbeddedResource(
                    type="resource",
                    resource=types.BlobResourceContents(
                        uri="file:///core.bin", blob=data, mimeType="application/x-core"
                    ),
                ),
            ]
        if name == "structured":
            return types.CallToolResult(content=[], structuredContent={"free": 81})
        if name == "sleep":
            await asyncio.sleep(float(text))
        if name == "nothing":
            return []
        if name == "change":
            tools.append(tool(text))
            await server.request_context.session.send_tool_list_changed()
            # Without a request that it belongs to, it goes over the stream of events.
        if name == "die":
            os._exit(1)
        return [types.TextContent(type="text", text=f"{name}: {text}")]

    return server


class Recorder:
    """Writes down each request, and lets pass only those that `allowed` does."""

    def __init__(self, app: ASGIApp, seen: Seen, allowed: Callable[[Mapping[str, str]], bool]) -> None:
        self._app = app
        self._seen = seen
        self._allowed = allowed

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]}
        body = b""
        if scope["method"] == "POST":
            more = True
            while more:
                message = await receive()
                body += message.get("body", b"")
                more = message.get("more_body", False)
        method = ""
        with contextlib.suppress(ValueError):
            method = json.loads(body).get("method", "") if body else ""
        self._seen.requests.append((scope["method"], method, headers))
        if not self._allowed(headers):
            await Response(status_code=401, headers={"WWW-Authenticate": CHALLENGE})(scope, receive, send)
            return
        given = False

        async def again() -> Any:
            nonlocal given
            if scope["method"] == "POST" and not given:
                given = True
                return {"type": "http.request", "body": body, "more_body": False}
            return await receive()

        await self._app(scope, again, send)


def http_app(server: Server[Any, Any], *, json_response: bool = False) -> ASGIApp:
    sessions = StreamableHTTPSessionManager(server, json_response=json_response)

    @contextlib.asynccontextmanager
    async def lifespan(_: Starlette) -> Any:
        async with sessions.run():
            yield

    async def handle(scope: Scope, receive: Receive, send: Send) -> None:
        await sessions.handle_request(scope, receive, send)

    return Starlette(routes=[Mount("/mcp", handle)], lifespan=lifespan)


def sse_app(server: Server[Any, Any]) -> ASGIApp:
    transport = SseServerTransport("/messages/")

    async def events(request: Any) -> Response:
        async with transport.connect_sse(request.scope, request.receive, request._send) as streams:
            await server.run(*streams, server.create_initialization_options(NotificationOptions()))
        return Response()

    return Starlette(
        routes=[Route("/sse", events, methods=["GET"]), Mount("/messages/", transport.handle_post_message)]
    )


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        return int(probe.getsockname()[1])


@contextmanager
def served(app: ASGIApp, port: int | None = None) -> Iterator[int]:
    """Serve an app in a thread; yields the port."""
    # Only of a socket of this protocol asyncio sends small parts at once, as it does for a server of its own.
    listening = socket.socket(proto=socket.IPPROTO_TCP)
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listening.bind((HOST, port or 0))
    settings = uvicorn.Config(
        app, log_level="critical", ws="none", timeout_graceful_shutdown=0, lifespan="on"
    )
    server = uvicorn.Server(settings)
    thread = threading.Thread(target=lambda: asyncio.run(server.serve([listening])), daemon=True)
    thread.start()
    end = time.monotonic() + 20
    while not server.started:
        assert time.monotonic() < end
        time.sleep(0.01)
    try:
        yield int(listening.getsockname()[1])
    finally:
        server.should_exit = True
        thread.join(20)
        listening.close()


@contextmanager
def mcp_server(
    kind: Literal["http", "json", "sse"] = "http",
    *,
    tools: list[types.Tool] | None = None,
    allowed: Callable[[Mapping[str, str]], bool] = lambda _: True,
    port: int | None = None,
) -> Iterator[McpAddress]:
    """`json` is streamable HTTP that answers without a stream. `allowed` judges the headers of each request."""
    seen = Seen()
    offered = names_of_tools() if tools is None else tools
    server = make_server(seen, offered)
    inner = sse_app(server) if kind == "sse" else http_app(server, json_response=kind == "json")
    with served(Recorder(inner, seen, allowed), port) as bound:
        path = "sse" if kind == "sse" else "mcp/"
        yield McpAddress(f"http://{HOST}:{bound}/{path}", seen, offered)


@contextmanager
def silent_server() -> Iterator[str]:
    """Takes connections and never answers."""
    with socket.socket() as listening:
        listening.bind((HOST, 0))
        listening.listen(64)
        yield f"http://{HOST}:{listening.getsockname()[1]}/mcp"


@contextmanager
def mortal_server(kind: Literal["http", "json", "sse"] = "http", port: int | None = None) -> Iterator[str]:
    """A server in a process of its own, whose tool `die` ends that process."""
    port = port or free_port()
    process = subprocess.Popen([sys.executable, "-m", "tests.mcp_servers", kind, str(port)])
    try:
        end = time.monotonic() + 60
        while True:
            with contextlib.suppress(OSError), socket.create_connection((HOST, port), timeout=1):
                break
            assert process.poll() is None
            assert time.monotonic() < end
            time.sleep(0.05)
        yield f"http://{HOST}:{port}/{'sse' if kind == 'sse' else 'mcp/'}"
    finally:
        process.kill()
        process.wait()


def main(kind: Literal["http", "json", "sse"], port: int) -> None:
    with mcp_server(kind, port=port):
        threading.Event().wait()


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))  # type: ignore[arg-type]
