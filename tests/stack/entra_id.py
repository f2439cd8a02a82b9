"""A token endpoint as Microsoft Entra ID has it, over real HTTP."""

import json
import threading
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self
from urllib.parse import parse_qs

from lightspeed.configuration.azure import AzureEntraIdConfiguration

TENANT, CLIENT, SECRET = "c4nary-tenant", "c4nary-client", "c4nary-secret"
SECRETS = (TENANT, CLIENT, SECRET)


@dataclass(eq=False)
class EntraId:
    """Runs on a free port of this machine while its `with` block does; entered again, on the same port.

    Its tokens are `token-1`, `token-2` and so on, each for `lifetime` seconds. `failure` is a status and a body to
    answer instead. While `held` is cleared, requests wait.
    """

    lifetime: Any = 3600
    failure: tuple[int, Any] | None = None
    headers: dict[str, str] = field(default_factory=dict)
    forms: list[dict[str, list[str]]] = field(default_factory=list)
    paths: list[str] = field(default_factory=list)
    port: int = 0

    def __post_init__(self) -> None:
        self.held = threading.Event()
        self.held.set()
        self.arrived = threading.Semaphore(0)
        self._server: ThreadingHTTPServer | None = None

    @property
    def given(self) -> int:
        """How many requests have come."""
        return len(self.forms)

    def configuration(self, **keys: Any) -> AzureEntraIdConfiguration:
        given = {"tenant_id": TENANT, "client_id": CLIENT, "client_secret": SECRET}
        return AzureEntraIdConfiguration.model_validate(
            given | {"authority": f"http://127.0.0.1:{self.port}"} | keys
        )

    def __enter__(self) -> Self:
        entra_id = self

        class Handler(_Handler):
            authority = entra_id

        self._server = ThreadingHTTPServer(("127.0.0.1", self.port), Handler)
        self.port = self._server.server_address[1]
        threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self.held.set()
        assert self._server is not None
        self._server.shutdown()
        self._server.server_close()


class _Handler(BaseHTTPRequestHandler):
    authority: EntraId
    timeout = 5

    def do_POST(self) -> None:
        entra_id = self.authority
        entra_id.paths.append(self.path)
        content = self.rfile.read(int(self.headers["Content-Length"]))
        entra_id.forms.append(parse_qs(content.decode(), strict_parsing=True))
        number = len(entra_id.forms)
        entra_id.arrived.release()
        entra_id.held.wait(30)
        token = {"token_type": "Bearer", "expires_in": entra_id.lifetime, "access_token": f"token-{number}"}
        status, body = entra_id.failure or (200, token)
        text = body if isinstance(body, str) else json.dumps(body)
        self.send_response(status)
        self.send_header("Content-Type", "application/json; charset=utf-8")
        self.send_header("Content-Length", str(len(text.encode())))
        for name, value in entra_id.headers.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(text.encode())

    def log_message(self, *_: object) -> None:
        """Silent."""
