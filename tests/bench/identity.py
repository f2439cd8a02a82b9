"""What it costs to know who asks: the same small request with and without authentication and access rules."""

import asyncio
import json
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import jwt
from cryptography.hazmat.primitives.asymmetric import rsa
from jwt.algorithms import RSAAlgorithm

from tests.bench import service
from tests.bench.client import Connection
from tests.bench.load import quantile
from tests.bench.rounds import FaultError

_PATH = "/v1/info"
_RULES = {"access_rules": [{"role": "*", "actions": ["info"]}, {"role": "*", "actions": ["query"]}]}
_WARM_UP = 50
_AT_ONCE = 25


@dataclass(frozen=True, slots=True)
class IdentityCost:
    """The median of one request in milliseconds, and by how much it exceeds that of `noop`."""

    module: str
    p50: float
    added: float


def identity_costs(folder: Path, upstream: str, *, requests: int) -> list[IdentityCost]:
    """All modules at the same time, asked in turns. Raises FaultError."""
    key = rsa.generate_private_key(65537, 2048)
    token = jwt.encode(
        {
            "user_id": "bench",
            "username": "bench",
            "exp": int(time.time()) + 3600,
            "iss": "bench",
            "aud": "bench",
        },
        key,
        "RS256",
        headers={"kid": "one"},
    )
    with ExitStack() as running:
        keys = running.enter_context(_key_server(key.public_key()))
        modules: dict[str, tuple[dict[str, Any], str]] = {
            "noop": ({}, ""),
            "api-key-token": (
                {
                    "authentication": {"module": "api-key-token", "api_key_config": {"api_key": "bench-key"}},
                    "authorization": _RULES,
                },
                "bench-key",
            ),
            "jwk-token": (
                {
                    "authentication": {
                        "module": "jwk-token",
                        "jwk_config": {"url": keys, "issuer": "bench", "audience": "bench"},
                    },
                    "authorization": _RULES,
                },
                token,
            ),
        }
        ports: dict[str, tuple[int, bytes]] = {}
        for module, (sections, credentials) in modules.items():
            place = folder / module
            place.mkdir()
            child = running.enter_context(service.remote_service(place, upstream, **sections))
            ports[module] = child.port, _request(credentials)
        for port, request in ports.values():
            asyncio.run(_ready(port, request))
        times = asyncio.run(_in_turns(ports, requests))
    medians = {module: quantile(sorted(taken), 0.5) for module, taken in times.items()}
    return [IdentityCost(module, p50, p50 - medians["noop"]) for module, p50 in medians.items()]


def _request(credentials: str) -> bytes:
    header = f"Authorization: Bearer {credentials}\r\n" if credentials else ""
    return f"GET {_PATH} HTTP/1.1\r\nHost: service\r\n{header}\r\n".encode()


async def _ready(port: int, request: bytes) -> None:
    end = time.perf_counter() + 60
    while time.perf_counter() < end:
        try:
            _, connection = await asyncio.get_running_loop().create_connection(Connection, "127.0.0.1", port)
        except OSError:
            await asyncio.sleep(0.05)
            continue
        status, _ = await connection.ask(request)
        connection.close()
        if status == 200:
            return
        await asyncio.sleep(0.05)
    raise FaultError(f"{_PATH}: not ready")


async def _in_turns(ports: dict[str, tuple[int, bytes]], requests: int) -> dict[str, list[float]]:
    times: dict[str, list[float]] = {module: [] for module in ports}
    with ExitStack() as opened:
        connections = {}
        for module, (port, request) in ports.items():
            transport, connection = await asyncio.get_running_loop().create_connection(
                Connection, "127.0.0.1", port
            )
            opened.enter_context(closing(transport))
            connections[module] = connection
            for _ in range(_WARM_UP):
                await connection.ask(request)
        for _ in range(max(1, requests // _AT_ONCE)):
            for module, (_, request) in ports.items():
                for _ in range(_AT_ONCE):
                    start = time.perf_counter()
                    status, _ = await connections[module].ask(request)
                    times[module].append(1000 * (time.perf_counter() - start))
                    if status != 200:
                        raise FaultError(f"{_PATH} with {module}: status {status}")
        await asyncio.sleep(0)
    return times


@contextmanager
def _key_server(key: rsa.RSAPublicKey) -> Iterator[str]:
    entry = json.loads(RSAAlgorithm.to_jwk(key)) | {"kid": "one", "alg": "RS256", "use": "sig"}
    body = json.dumps({"keys": [entry]}).encode()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *args: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}/keys"
        finally:
            server.shutdown()
            thread.join()
