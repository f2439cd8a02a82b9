import asyncio
import logging
import mimetypes
import re
from collections.abc import AsyncIterator
from typing import Any
from uuid import UUID

import anyio.to_thread
import pytest
from starlette.applications import Starlette
from starlette.responses import StreamingResponse
from starlette.routing import Mount
from starlette.staticfiles import StaticFiles

from lightspeed.api.endpoint import Access, Call, Endpoint
from lightspeed.api.middleware import Cors
from lightspeed.telemetry.metrics import Metrics
from lightspeed.telemetry.request_id import current_request_id
from tests.api.declared_api import Answer, application, ask, client
from tests.api.test_body import HEAD, served

pytestmark = pytest.mark.anyio

ORIGIN = {"Origin": "http://page"}


async def fail(call: Call) -> Answer:
    raise RuntimeError("the password is hunter2")


async def pass_on(call: Call) -> Answer:
    return Answer(response=call.path.get("name", ""))


def get(path: str, handler: Any = pass_on, **changes: Any) -> Endpoint:
    return Endpoint("GET", path, handler, action=Access.PUBLIC, tags=(), summary="", **changes)


async def samples(metrics: Metrics, name: str) -> dict[str, float]:
    lines = (await anyio.to_thread.run_sync(metrics.exposition)).decode().splitlines()
    found = (re.fullmatch(rf"{name}(\{{.*\}}) (.+)", line) for line in lines)
    return {match[1]: float(match[2]) for match in found if match}


async def test_unexpected_errors_tell_nothing_and_stay_readable_for_pages(
    caplog: pytest.LogCaptureFixture,
) -> None:
    with caplog.at_level(logging.ERROR, "lightspeed"):
        async with client(application([ask(fail)])) as http:
            response = await http.post(
                "/v1/query", json={"query": "a"}, headers={**ORIGIN, "X-Request-ID": "id-7"}
            )
    assert response.status_code == 500
    assert response.json() == {
        "detail": {
            "response": "Internal server error",
            "cause": "An unexpected error occurred while processing the request.",
        }
    }
    assert response.headers["access-control-allow-origin"] == "*"
    assert response.headers["x-request-id"] == "id-7"
    (record,) = caplog.records
    assert record.exc_info is not None
    assert str(record.exc_info[1]) == "the password is hunter2"


@pytest.mark.parametrize("path", ["/hello", "/nothing", "/hello/"])
async def test_every_answer_names_its_request(path: str) -> None:
    async with client(application([get("/hello")])) as http:
        first = (await http.get(path)).headers.get_list("x-request-id")
        second = (await http.get(path)).headers.get_list("x-request-id")
    assert len(first) == 1
    assert UUID(first[0]).version == 4
    assert first != second


@pytest.mark.parametrize("given", ["", "a b", "x" * 129, "<script>", 'a"b', "a;b"])
async def test_harmful_request_ids_are_replaced(given: str) -> None:
    async with client(application([get("/hello")])) as http:
        response = await http.get("/hello", headers={"X-Request-ID": given})
    assert UUID(response.headers["x-request-id"]).version == 4


async def test_handlers_run_under_the_request_id() -> None:
    async def show(call: Call) -> Answer:
        return Answer(response=f"{current_request_id.get()} {call.request_id}")

    async with client(application([get("/hello", show)])) as http:
        response = await http.get("/hello", headers={"X-Request-ID": "Root=1-5759e988/b:2.c@d"})
    assert response.json()["response"] == "Root=1-5759e988/b:2.c@d Root=1-5759e988/b:2.c@d"


async def test_metrics_know_templates_only() -> None:
    metrics = Metrics()
    async with client(
        application([get("/things/{name}"), ask(fail)], metrics=metrics, root_path="/p")
    ) as http:
        await http.get("/things/one")
        await http.get("/p/things/two")
        await http.delete("/things/three")
        await http.get("/secret/path")
        await http.post("/v1/query", json={"query": "a"})
    assert await samples(metrics, "ls_rest_api_calls_total") == {
        '{path="/things/{name}",status_code="200"}': 2,
        '{path="/things/{name}",status_code="405"}': 1,
        '{path="unmatched",status_code="404"}': 1,
        '{path="/v1/query",status_code="500"}': 1,
    }
    assert await samples(metrics, "ls_response_duration_seconds_count") == {
        '{path="/things/{name}"}': 3,
        '{path="unmatched"}': 1,
        '{path="/v1/query"}': 1,
    }


async def test_mounted_files_are_one_path(tmp_path: Any) -> None:
    (tmp_path / "a.txt").write_text("a")
    mimetypes.init()
    metrics = Metrics()
    app = application([], metrics=metrics)
    app.router.routes.append(Mount("/static", StaticFiles(directory=tmp_path)))
    async with client(app) as http:
        assert (await http.get("/static/a.txt")).text == "a"
    assert await samples(metrics, "ls_rest_api_calls_total") == {'{path="/static",status_code="200"}': 1}


async def test_preflights_are_answered_and_not_counted() -> None:
    metrics = Metrics()
    asked = {**ORIGIN, "Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": "x-mine"}
    async with client(application([ask()], metrics=metrics)) as http:
        response = await http.options("/v1/query", headers=asked)
    assert (response.status_code, response.text) == (200, "OK")
    assert response.headers["access-control-allow-headers"] == "x-mine"
    assert response.headers["access-control-max-age"] == "600"
    assert await samples(metrics, "ls_rest_api_calls_total") == {}


async def test_named_origins_only() -> None:
    app = application([get("/hello")], cors=Cors(allow_origins=("http://page",), allow_credentials=True))
    async with client(app) as http:
        known = await http.get("/hello", headers=ORIGIN)
        unknown = await http.get("/hello", headers={"Origin": "http://other"})
    assert known.headers["access-control-allow-origin"] == "http://page"
    assert known.headers["access-control-allow-credentials"] == "true"
    assert "access-control-allow-origin" not in unknown.headers


async def test_one_access_line_without_the_query_string(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, "lightspeed.access"):
        async with client(application([get("/hello")])) as http:
            await http.get("/hello?user_id=alice")
    (line,) = [record.getMessage() for record in caplog.records if record.name == "lightspeed.access"]
    assert re.fullmatch(r"GET /hello 200 \d+\.\d ms", line)


@pytest.mark.parametrize(
    ("status", "told"), [(200, ["DEBUG", "DEBUG", "DEBUG", "INFO"]), (503, ["INFO", "INFO", "INFO", "INFO"])]
)
async def test_probes_that_succeed_do_not_fill_the_log(
    caplog: pytest.LogCaptureFixture, status: int, told: list[str]
) -> None:
    paths = ("/liveness", "/readiness", "/metrics", "/hello")
    with caplog.at_level(logging.DEBUG, "lightspeed.access"):
        async with client(application([get(path, status=status) for path in paths])) as http:
            for path in paths:
                assert (await http.get(path)).status_code == status
    records = [record for record in caplog.records if record.name == "lightspeed.access"]
    assert [record.levelname for record in records] == told


async def test_access_log_can_be_left_out(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, "lightspeed.access"):
        async with client(application([get("/hello")], access_log=False)) as http:
            await http.get("/hello")
    assert not [record for record in caplog.records if record.name == "lightspeed.access"]


async def broken_stream(call: Call) -> StreamingResponse:
    async def pieces() -> AsyncIterator[bytes]:
        yield b"first"
        raise RuntimeError("broken pipe to the model")

    return StreamingResponse(pieces(), media_type="text/plain")


async def test_broken_stream_is_cut_and_logged_once_by_the_server(caplog: pytest.LogCaptureFixture) -> None:
    app = application([ask(broken_stream)])
    body = b'{"query": "why?"}'
    async with served(app, "httptools") as port:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(HEAD + b"Content-Length: %d\r\n\r\n" % len(body) + body)
        received = await reader.read()
        writer.close()
        await writer.wait_closed()
    assert b"first" in received
    assert not received.endswith(b"0\r\n\r\n")
    tracebacks = [record for record in caplog.records if record.exc_info]
    assert [record.name for record in tracebacks] == ["uvicorn.error"]


async def test_client_that_leaves_is_no_error(caplog: pytest.LogCaptureFixture) -> None:
    metrics = Metrics()
    app = application([ask()], metrics=metrics)
    scope = {
        "type": "http",
        "method": "POST",
        "path": "/v1/query",
        "query_string": b"",
        "headers": [(b"authorization", b"alice")],
    }
    sent: list[Any] = []

    async def receive() -> dict[str, Any]:
        return {"type": "http.disconnect"}

    async def send(message: Any) -> None:
        sent.append(message)

    with caplog.at_level(logging.INFO):
        await app(scope, receive, send)
    assert sent == []
    assert not [record for record in caplog.records if record.levelno > logging.INFO]
    assert await samples(metrics, "ls_rest_api_calls_total") == {'{path="/v1/query",status_code="499"}': 1}


async def test_other_protocols_pass_untouched() -> None:
    app: Starlette = application([])
    messages = iter([{"type": "lifespan.startup"}, {"type": "lifespan.shutdown"}])
    sent: list[str] = []

    async def receive() -> Any:
        return next(messages)

    async def send(message: Any) -> None:
        sent.append(message["type"])

    await app({"type": "lifespan", "state": {}}, receive, send)
    assert sent == ["lifespan.startup.complete", "lifespan.shutdown.complete"]
