"""A server that receives what the service sends out: real HTTP or HTTPS, in threads of its own."""

import gzip
import json
import ssl
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self

_HOST = "127.0.0.1"


@dataclass(frozen=True)
class Received:
    """One request; `headers` have names in small letters, `body` is unpacked."""

    path: str
    headers: dict[str, str]
    body: bytes


type Answer = Callable[[Received], tuple[int, Any]]
"""Status, and what is sent as JSON."""


def well(_: Received) -> tuple[int, Any]:
    return 200, {"text": "Success", "code": 0}


class Receiver:
    """Listens while its `with` block lasts; entered again, on the same port again.

    While `released` is not set, requests are received but not answered.
    """

    def __init__(self, answer: Answer = well, *, tls: ssl.SSLContext | None = None) -> None:
        self.answer = answer
        self.released = threading.Event()
        self.released.set()
        self.requests: list[Received] = []
        self._tls = tls
        self._server: ThreadingHTTPServer | None = None
        self.port = 0

    @property
    def url(self) -> str:
        return f"{'https' if self._tls else 'http'}://{_HOST}:{self.port}"

    def wait(self, ready: Callable[[list[Received]], object], seconds: float = 20) -> None:
        """Block until `ready` says so of the requests."""
        end = time.monotonic() + seconds
        while not ready(list(self.requests)):
            assert time.monotonic() < end, f"got {len(self.requests)} requests"
            time.sleep(0.01)

    def __enter__(self) -> Self:
        server = self._server = _Server((_HOST, self.port), _handler(self))
        if self._tls is not None:
            server.socket = self._tls.wrap_socket(server.socket, server_side=True)
        self.port = server.server_address[1]
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        assert self._server is not None
        self.released.set()
        self._server.shutdown()
        self._server.server_close()


class _Server(ThreadingHTTPServer):
    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that leaves is no error."""


def _handler(receiver: Receiver) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            headers = {name.lower(): value for name, value in self.headers.items()}
            if headers.get("transfer-encoding") == "chunked":
                raise AssertionError("chunked bodies are not read here")
            body = self.rfile.read(int(headers.get("content-length", 0)))
            if headers.get("content-encoding") == "gzip":
                body = gzip.decompress(body)
            received = Received(self.path, headers, body)
            receiver.requests.append(received)
            receiver.released.wait()
            status, content = receiver.answer(received)
            data = json.dumps(content).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, *_: object) -> None:
            pass

    return Handler
