"""What tools cost: a turn that calls them, a list that is known, and servers that are dead."""

import asyncio
import json
import logging
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import Any

import httpx
from starlette.types import ASGIApp, Receive, Scope, Send

from tests.bench import service
from tests.bench.footprint import wait_until_ready
from tests.bench.rounds import FaultError
from tests.mcp_servers import (
    HOST,
    Recorder,
    Seen,
    free_port,
    http_app,
    make_server,
    served,
    silent_server,
    tool,
)
from tests.scripted_model import Reply, ScriptedModel, ToolCall

_ROUNDS = 2
_WARM_UP = 5
_LIVING, _REFUSING, _SILENT = 15, 3, 2
_SLOWEST = 0.1  # seconds for each request to the slowest of the living
_USER = "X-User"


@dataclass(frozen=True, slots=True)
class ToolCost:
    """Medians in milliseconds. `beside` is what the servers have taken themselves; `requests` is per turn."""

    name: str
    taken: float
    beside: float = 0.0
    requests: float = 0.0
    ratio: float | None = None


@dataclass
class _Timed:
    """Remembers when each request came and when its answer was complete."""

    app: ASGIApp
    delay: float = 0.0
    times: list[tuple[float, float]] = field(default_factory=list)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["method"] != "POST":
            await self.app(scope, receive, send)
            return
        start = time.perf_counter()
        if self.delay:
            await asyncio.sleep(self.delay)
        try:
            await self.app(scope, receive, send)
        finally:
            self.times.append((start, time.perf_counter()))

    def taken(self) -> float:
        """Seconds in which a request was under way, which are never two here."""
        return sum(end - start for start, end in self.times)

    def span(self) -> float:
        """Seconds from the first request to the end of the last."""
        return max(end for _, end in self.times) - self.times[0][0]


@dataclass
class _Local:
    url: str
    seen: Seen
    timed: _Timed


@contextmanager
def _server(name: str, delay: float = 0.0) -> Iterator[_Local]:
    seen = Seen()
    timed = _Timed(Recorder(http_app(make_server(seen, [tool(name)])), seen, lambda _: True), delay)
    with served(timed) as port:
        yield _Local(f"http://{HOST}:{port}/mcp/", seen, timed)


def tool_costs(folder: Path, *, turns: int) -> list[ToolCost]:
    """Raises FaultError."""
    # The servers' SDK complains of connections that end.
    logging.getLogger("mcp").setLevel(logging.CRITICAL)
    with ScriptedModel(record=False) as model:
        model.when(
            _calls_again,
            lambda body: Reply(tool_calls=[ToolCall("echo", {"text": "a"}, id=f"c-{len(body['messages'])}")]),
        )
        calling, many = folder / "calling", folder / "many"
        calling.mkdir()
        many.mkdir()
        return [
            *_rounds(calling, model.base_url, turns),
            *_first_tokens(many, model.base_url, max(3, turns // 10)),
        ]


def _calls_again(body: dict[str, Any]) -> bool:
    offered = {entry["function"]["name"] for entry in body.get("tools", ())}
    return "echo" in offered and sum(message["role"] == "tool" for message in body["messages"]) < _ROUNDS


def _rounds(folder: Path, upstream: str, turns: int) -> list[ToolCost]:
    """A turn without tools, and one that calls a tool in each of two rounds, asked in turns."""
    plain: list[float] = []
    called: list[float] = []
    own: list[float] = []
    with _server("echo") as local:
        servers = [{"name": "local", "url": local.url}]
        with (
            service.remote_service(folder, upstream, mcp_servers=servers) as child,
            _client(child.port) as http,
        ):
            wait_until_ready(child)
            for _ in range(_WARM_UP):
                _query(http, no_tools=True)
                _query(http)
            local.seen.requests.clear()
            for _ in range(turns):
                plain.append(_query(http, no_tools=True))
                local.timed.times.clear()
                called.append(_query(http, calls=_ROUNDS))
                own.append(local.timed.taken())
        methods = local.seen.methods()
    more = len(methods) - methods.count("tools/call")
    without, beside = 1000 * median(plain), 1000 * median(own)
    added = [(taken - tools) / bare for taken, tools, bare in zip(called, own, plain, strict=True)]
    return [
        ToolCost("a turn without tools", without, ratio=1.0),
        ToolCost(
            "a turn with two rounds of tools",
            1000 * median(called),
            beside,
            len(methods) / turns,
            median(added),
        ),
        ToolCost("what its known list of tools costs", 0.0, requests=more / turns),
    ]


def _first_tokens(folder: Path, upstream: str, turns: int) -> list[ToolCost]:
    """20 servers, 5 of them dead; each turn comes with credentials for which no list is known."""
    with ExitStack() as running:
        living = [
            running.enter_context(_server(f"tool_{number}", _SLOWEST if number == 0 else 0.0))
            for number in range(_LIVING)
        ]
        dead = [f"http://{HOST}:{free_port()}/mcp" for _ in range(_REFUSING)]
        dead += [running.enter_context(silent_server()) for _ in range(_SILENT)]
        sections = [
            {"name": f"server-{number}", "url": url, "headers": [_USER]}
            for number, url in enumerate([*(local.url for local in living), *dead])
        ]
        child = running.enter_context(service.remote_service(folder, upstream, mcp_servers=sections))
        http = running.enter_context(_client(child.port))
        wait_until_ready(child)
        slowest = living[0].timed
        first = _first_token(http, "nobody")
        first_list = slowest.span()
        _until_known(http, _REFUSING + _SILENT)
        taken: list[float] = []
        lists: list[float] = []
        for number in range(turns):
            slowest.times.clear()
            taken.append(_first_token(http, f"user-{number}"))
            lists.append(slowest.span())
        known = [_first_token(http, "user-0") for _ in range(turns)]
    return [
        ToolCost("first token, 5 of 20 servers dead: the very first turn", 1000 * first, 1000 * first_list),
        ToolCost(
            "the same, no list known, the dead known",
            1000 * median(taken),
            1000 * median(lists),
        ),
        ToolCost("the same, all lists known", 1000 * median(known)),
    ]


def _until_known(http: httpx.Client, dead: int) -> None:
    """Until turns of strangers wait no longer for those that do not answer."""
    for number in range(30):
        start = time.monotonic()
        if _missing(http, f"stranger-{number}") == dead and time.monotonic() - start < 2:
            return
        time.sleep(1)
    raise FaultError("dead servers are still waited for")


def _missing(http: httpx.Client, user: str) -> int:
    return sum(frame["event"] == "warning" for frame in _frames(http, user))


def _first_token(http: httpx.Client, user: str) -> float:
    start = time.perf_counter()
    for frame in _frames(http, user):
        if frame["event"] == "token" and frame["data"]["token"]:
            taken = time.perf_counter() - start
            break
    else:
        raise FaultError("a streamed turn: no token")
    return taken


def _frames(http: httpx.Client, user: str) -> Iterator[dict[str, Any]]:
    body = {"query": "Which pods run?"}
    with http.stream("POST", "/v1/streaming_query", json=body, headers={_USER: user}) as answer:
        for line in answer.iter_lines():
            if line:
                yield json.loads(line.removeprefix("data: "))


def _query(http: httpx.Client, *, calls: int = 0, **fields: Any) -> float:
    start = time.perf_counter()
    answer = http.post(
        "/v1/query", json={"query": "Which pods run?", "generate_topic_summary": False} | fields
    )
    taken = time.perf_counter() - start
    if answer.status_code != 200:
        raise FaultError(f"a turn: status {answer.status_code}")
    if calls and _successes(answer.json()["tool_results"]) != calls:
        raise FaultError("a turn: the tools were not called")
    return taken


def _successes(results: Sequence[dict[str, Any]]) -> int:
    return sum(result["type"] == "mcp_call" and result["status"] == "success" for result in results)


def _client(port: int) -> httpx.Client:
    return httpx.Client(base_url=f"http://{HOST}:{port}", timeout=60, trust_env=False)
