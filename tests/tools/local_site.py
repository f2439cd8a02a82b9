"""A web server on this machine that keeps its connections, for tests of what reaches it."""

import ssl
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

type Answer = tuple[int, Mapping[str, str]]


class LocalSite:
    """Answers 200 to every path without an answer of its own.

    `asked` holds method, path, header Host and body of each request, `names` those of the TLS handshakes.
    """

    def __init__(self, answers: Mapping[str, Answer], certificate: Path | None) -> None:
        self.asked: list[tuple[str, str, str, bytes]] = []
        self.names: list[str | None] = []
        self._server = _Server(("127.0.0.1", 0), self._handler(answers))
        if certificate is not None:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(certificate)
            context.sni_callback = lambda _, name, __: self.names.append(name)
            self._server.socket = context.wrap_socket(self._server.socket, server_side=True)
        self.port = self._server.server_address[1]
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,))

    def start(self) -> None:
        self._thread.start()

    def close(self) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    def _handler(self, answers: Mapping[str, Answer]) -> type[BaseHTTPRequestHandler]:
        site = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
                site.asked.append((self.command, self.path, self.headers["Host"], body))
                status, headers = answers.get(self.path, (200, {}))
                self.send_response(status)
                for name, value in ({"Content-Length": "0"} | dict(headers)).items():
                    self.send_header(name, value)
                self.end_headers()

            do_POST = do_GET  # noqa: N815 - the name that the library looks for

            def log_message(self, *_: Any) -> None: ...

        return Handler


class _Server(ThreadingHTTPServer):
    # Connections that a client keeps open must not keep the server from closing.
    daemon_threads = True
    block_on_close = False

    def handle_error(self, *_: Any) -> None:
        """A client that gives up is no news."""


type Serve = Callable[..., LocalSite]


@contextmanager
def sites() -> Iterator[Serve]:
    """Start servers with the given answers by path; they are closed together."""
    running: list[LocalSite] = []

    def serve(answers: Mapping[str, Answer] | None = None, certificate: Path | None = None) -> LocalSite:
        site = LocalSite(answers or {}, certificate)
        site.start()
        running.append(site)
        return site

    try:
        yield serve
    finally:
        for site in running:
            site.close()
