"""A real HTTP server of signing keys, which can answer wrongly, late or not at all."""

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


class JwksServer:
    """`requests` counts, `asked` is set by each; `released` is waited for before each answer."""

    def __init__(self, content: Any) -> None:
        self.answer_json(content)
        self.requests = 0
        self.asked, self.released = threading.Event(), threading.Event()
        self.released.set()
        self._port = 0
        self._server: ThreadingHTTPServer | None = None
        self.start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._port}/jwks"

    def answer_json(self, content: Any) -> None:
        self.answer(json.dumps(content).encode())

    def answer(
        self, body: bytes, status: int = 200, kind: str | None = "application/json", location: str = ""
    ) -> None:
        self._answer = (body, status, kind, location)

    def start(self) -> None:
        """Serve on the port of the last time."""
        owner = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                owner.requests += 1
                owner.asked.set()
                owner.released.wait(20)
                body, status, kind, location = owner._answer
                self.send_response(status)
                if kind is not None:
                    self.send_header("Content-Type", kind)
                if location:
                    self.send_header("Location", location)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: Any) -> None:
                pass

        class Server(ThreadingHTTPServer):
            def handle_error(self, *_: Any) -> None:
                """A client that goes away early is part of the tests."""

        self._server = Server(("127.0.0.1", self._port), Handler)
        self._port = self._server.server_address[1]
        threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True).start()

    def stop(self) -> None:
        if self._server is not None:
            self._server.shutdown()
            self._server.server_close()
            self._server = None


@contextmanager
def jwks_server(content: Any) -> Iterator[JwksServer]:
    server = JwksServer(content)
    try:
        yield server
    finally:
        server.released.set()
        server.stop()
