"""Body limits where they matter: on the wire."""

import asyncio
import json
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
import uvicorn

from lightspeed.api.endpoint import Call
from tests.api.declared_api import Answer, application, ask, client

pytestmark = pytest.mark.anyio

LIMIT = 1000
HEAD = b"POST /v1/query HTTP/1.1\r\nHost: x\r\nAuthorization: alice\r\nContent-Type: application/json\r\n"


@asynccontextmanager
async def served(app: Any, http: str) -> AsyncIterator[int]:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        config = uvicorn.Config(app, http=http, ws="none", lifespan="off", log_config=None)
        server = uvicorn.Server(config)
        task = asyncio.create_task(server.serve(sockets=[listening]))
        try:
            yield listening.getsockname()[1]
        finally:
            server.should_exit = True
            await task


async def read_response(reader: asyncio.StreamReader) -> tuple[int, Any]:
    head = (await reader.readuntil(b"\r\n\r\n")).decode().lower()
    length = next(int(line.split(":")[1]) for line in head.split("\r\n") if line.startswith("content-length"))
    return int(head.split()[1]), json.loads(await reader.readexactly(length))


@pytest.fixture(params=["httptools", "h11"])
async def connection(request: pytest.FixtureRequest) -> AsyncIterator[tuple[Any, Any]]:
    async with served(application([ask()], max_body=LIMIT), request.param) as port:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        yield reader, writer
        writer.close()
        await writer.wait_closed()


def question(size: int) -> bytes:
    return b'{"query": "' + b"x" * (size - 13) + b'"}'


async def test_body_at_the_limit_is_read(connection: Any) -> None:
    reader, writer = connection
    writer.write(HEAD + b"Content-Length: %d\r\n\r\n" % LIMIT + question(LIMIT))
    status, body = await read_response(reader)
    assert status == 200
    assert len(body["response"]) == LIMIT - 13


async def test_announced_body_is_refused_before_it_is_sent(connection: Any) -> None:
    reader, writer = connection
    writer.write(HEAD + b"Content-Length: 5000000000\r\nExpect: 100-continue\r\n\r\n")
    status, body = await read_response(reader)
    assert status == 413
    assert body["detail"] == {
        "response": "Request is too large",
        "cause": "The request body exceeds the limit of 1000 bytes.",
    }


async def test_client_that_sends_all_of_it_can_still_read_the_answer(connection: Any) -> None:
    reader, writer = connection
    size = 3_000_000
    writer.write(HEAD + b"Content-Length: %d\r\n\r\n" % size)
    writer.write(question(size))
    await writer.drain()
    assert (await read_response(reader))[0] == 413
    writer.write(HEAD + b"Content-Length: 17\r\n\r\n" + b'{"query": "next"}')
    assert await read_response(reader) == (200, {"response": "next", "remark": None})


async def test_chunks_are_counted_as_they_arrive(connection: Any) -> None:
    reader, writer = connection
    writer.write(HEAD + b"Transfer-Encoding: chunked\r\n\r\n")
    writer.write(b"1f4\r\n" + b"x" * 500 + b"\r\n")
    writer.write(b"1f5\r\n" + b"x" * 501 + b"\r\n")
    status, _ = await read_response(reader)
    assert status == 413


async def test_form_is_limited_too() -> None:
    async def upload(call: Call) -> Answer:
        async with call.request.form() as form:
            return Answer(response=str(len(await form["file"].read())))  # type: ignore[union-attr]

    app = application([ask(upload, request=None, max_body=2000)])
    async with client(app) as http:
        small = await http.post("/v1/query", files={"file": b"x" * 1000})
        large = await http.post("/v1/query", files={"file": b"x" * 2000})
    assert small.json()["response"] == "1000"
    assert large.status_code == 413


async def test_limit_comes_before_authentication() -> None:
    async with client(application([ask()], max_body=10), None) as http:
        assert (await http.post("/v1/query", json={"query": "long enough"})).status_code == 413
