"""A Kubernetes API server: TokenReview, SubjectAccessReview and ClusterVersion over real HTTP, as clusters speak them."""

import json
import ssl
import threading
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Self

TOKEN_REVIEWS = "/apis/authentication.k8s.io/v1/tokenreviews"
ACCESS_REVIEWS = "/apis/authorization.k8s.io/v1/subjectaccessreviews"
CLUSTER_VERSION = "/apis/config.openshift.io/v1/clusterversions/version"


@dataclass(frozen=True)
class Seen:
    """One request."""

    path: str
    authorization: str | None
    body: Any


@dataclass(eq=False)
class KubernetesApi:
    """Runs on a free port of this machine while its `with` block does; entered again, on the same port.

    `users` are the users by their token, `admitted` the names of those who may get `/ls-access`. Paths in `failures`
    answer with that status instead, those in `raw` with that text. While `held` is cleared, token reviews wait.
    """

    certificate: Path | None = None
    users: dict[str, dict[str, Any] | None] = field(default_factory=dict)
    admitted: set[str] = field(default_factory=set)
    cluster_version: Any = field(default_factory=lambda: {"spec": {"clusterID": "cluster-1"}})
    failures: dict[str, int] = field(default_factory=dict)
    raw: dict[str, str] = field(default_factory=dict)
    seen: list[Seen] = field(default_factory=list)
    port: int = 0

    def __post_init__(self) -> None:
        self.held = threading.Event()
        self.held.set()
        self.arrived = threading.Event()
        self._server: ThreadingHTTPServer | None = None

    @property
    def url(self) -> str:
        return f"{'https' if self.certificate else 'http'}://127.0.0.1:{self.port}"

    def asked(self, path: str) -> list[Seen]:
        return [seen for seen in self.seen if seen.path == path]

    def __enter__(self) -> Self:
        api = self

        class Handler(_Handler):
            kubernetes = api

        self._server = ThreadingHTTPServer(("127.0.0.1", self.port), Handler)
        if self.certificate is not None:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(self.certificate)
            self._server.socket = context.wrap_socket(self._server.socket, server_side=True)
        self.port = self._server.server_address[1]
        threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self.held.set()
        assert self._server is not None
        self._server.shutdown()
        self._server.server_close()

    def answer(self, path: str, body: Any) -> Any:
        if path == TOKEN_REVIEWS:
            self.arrived.set()
            self.held.wait(30)
            return self._token_review(body)
        if path == ACCESS_REVIEWS:
            return self._access_review(body)
        if path == CLUSTER_VERSION:
            return self.cluster_version
        return None

    def _token_review(self, body: Any) -> Any:
        assert (body["apiVersion"], body["kind"]) == ("authentication.k8s.io/v1", "TokenReview")
        token = body["spec"]["token"]
        if token not in self.users:
            return body | {"status": {"user": {}, "error": "invalid bearer token"}}
        status = {"authenticated": True, "audiences": ["https://kubernetes.default.svc"]}
        user = self.users[token]
        return body | {"status": status | ({"user": user} if user is not None else {})}

    def _access_review(self, body: Any) -> Any:
        assert (body["apiVersion"], body["kind"]) == ("authorization.k8s.io/v1", "SubjectAccessReview")
        asked = body["spec"]
        allowed = (
            asked["nonResourceAttributes"] == {"path": "/ls-access", "verb": "get"}
            and asked["user"] in self.admitted
        )
        return body | {"status": {"allowed": allowed}}


class _Handler(BaseHTTPRequestHandler):
    kubernetes: KubernetesApi
    protocol_version = "HTTP/1.1"
    timeout = 5

    def do_GET(self) -> None:
        self._respond(None)

    def do_POST(self) -> None:
        self._respond(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))

    def _respond(self, body: Any) -> None:
        api = self.kubernetes
        path = self.path.partition("?")[0]
        api.seen.append(Seen(path, self.headers.get("Authorization"), body))
        if status := api.failures.get(path):
            self._send(status, json.dumps({"kind": "Status", "apiVersion": "v1", "code": status}))
        elif path in api.raw:
            self._send(200, api.raw[path])
        elif (answer := api.answer(path, body)) is not None:
            self._send(200 if body is None else 201, json.dumps(answer))
        else:
            self._send(404, json.dumps({"kind": "Status", "apiVersion": "v1", "code": 404}))

    def _send(self, status: int, text: str) -> None:
        content = text.encode()
        # The library keeps connections; a server that is to end must not wait for them.
        self.close_connection = True
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(content)))
        self.send_header("Connection", "close")
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *_: object) -> None:
        """Silent."""
