"""Requests to the server: credentials, connections, and what its errors become."""

import asyncio
from collections.abc import AsyncIterator

import anyio
import pytest
from starlette.responses import StreamingResponse

from lightspeed.errors import (
    BadRequest,
    InternalError,
    NotFound,
    ProviderUnavailable,
    RequestError,
    StartupError,
    TooLarge,
    TooManyRequests,
)
from lightspeed.stack.chat import ChatRequest
from lightspeed.stack.remote.client import RemoteStack
from lightspeed.stack.remote.failures import NotServed
from lightspeed.stack.remote.server import StackServer
from lightspeed.stack.remote.settings import ServerSettings
from tests.service.conftest import free_port
from tests.stack.remote.small_server import SmallServer, small_server

pytestmark = pytest.mark.anyio


@pytest.fixture
async def small() -> AsyncIterator[SmallServer]:
    async with small_server() as small:
        yield small


@pytest.fixture
async def server(small: SmallServer) -> AsyncIterator[StackServer]:
    server = await StackServer.open(ServerSettings(small.url, api_key="xyzzy"))
    yield server
    await server.close()


@pytest.mark.parametrize(
    ("status", "body", "kind", "cause"),
    [
        (
            400,
            {"error": {"message": "Vector_store 'it' not found"}},
            NotFound,
            "Thing with ID it does not exist",
        ),
        (404, {"error": {"message": "File 'it' not found."}}, NotFound, "Thing with ID it does not exist"),
        (404, {"detail": "Not Found"}, NotServed, "The Llama Stack server does not serve things/it."),
        (400, {"error": {"detail": "Bad filter"}}, BadRequest, "Bad filter"),
        (400, {"error": {"message": "key sk-abcdefgh is wrong"}}, BadRequest, "key [redacted] is wrong"),
        (413, {"error": {"message": "too much"}}, TooLarge, "too much"),
        (429, {"error": {"message": "slowly"}}, TooManyRequests, "slowly"),
        (
            401,
            {},
            ProviderUnavailable,
            "The Llama Stack server rejects the credentials of this service (status 401).",
        ),
        (503, {}, ProviderUnavailable, "The Llama Stack server is not available (status 503)."),
        (
            500,
            {"error": {"message": "secret"}},
            InternalError,
            "An unexpected error occurred while processing the request.",
        ),
    ],
)
async def test_errors(
    small: SmallServer, server: StackServer, status: int, body: object, kind: type[RequestError], cause: str
) -> None:
    small.answer("/things/it", body, status, **{"Retry-After": "7"})
    with pytest.raises(kind) as caught:
        await server.get("/things/it", resource="Thing", identifier="it")
    assert caught.value.cause == cause
    if status == 429:
        assert caught.value.headers == {"Retry-After": "7"}


async def test_connections_are_kept_but_not_after_an_error(small: SmallServer, server: StackServer) -> None:
    small.answer("/well", {})
    small.answer("/wrong", {"error": {"message": "no"}}, 400)
    for path in ("/well", "/well", "/wrong", "/well"):
        try:
            await server.get(path)
        except BadRequest:
            assert path == "/wrong"
    before, after = small.peers[:-1], small.peers[-1]
    assert len(set(before)) == 1
    assert after not in before


async def test_the_key_goes_with_each_request_of_either_client(small: SmallServer) -> None:
    small.answer("/models", {"data": []})
    stack = await RemoteStack.start(
        ServerSettings(small.url, api_key="xyzzy"), provider_data=lambda: {"openai_api_key": "sk-über"}
    )
    try:
        await stack.models()
        with pytest.raises(NotFound):
            await stack.chat(ChatRequest("a/b", ({"role": "user", "content": "x"},), stream=False))
    finally:
        await stack.close()
    assert len(small.seen) >= 3
    for headers in small.seen:
        assert headers["authorization"] == "Bearer xyzzy"
        assert headers["x-llamastack-provider-data"]


async def test_without_a_key_nothing_is_sent_in_its_place(small: SmallServer) -> None:
    stack = await RemoteStack.start(ServerSettings(small.url))
    try:
        with pytest.raises(NotFound):
            await stack.chat(ChatRequest("a/b", ({"role": "user", "content": "x"},), stream=True))
    finally:
        await stack.close()
    assert all("authorization" not in headers for headers in small.seen)


@pytest.mark.parametrize(
    ("body", "status", "cause"),
    [
        ({"version": "0.3.5"}, 200, "its version 0.3.5 is not supported; 0.4.0 to 0.7.x are"),
        ({}, 200, "it does not tell its version"),
        ({"detail": "Not Found"}, 404, "does not tell its version"),
        ({}, 401, "rejects the credentials"),
    ],
)
async def test_a_server_that_cannot_be_used_stops_the_start_at_once(
    small: SmallServer, body: object, status: int, cause: str
) -> None:
    small.answer("/version", body, status)
    settings = ServerSettings(
        small.url.replace("//", "//user:secret@"), attempts=3, retry_delay=60, may_be_away=True
    )
    with pytest.raises(StartupError, match=cause) as caught:
        await RemoteStack.start(settings)
    assert "secret" not in str(caught.value)
    assert len(small.seen) == 1


async def test_what_is_no_llama_stack(small: SmallServer) -> None:
    small.answers["/version"] = type(small.answers["/version"])("<html>")
    with pytest.raises(StartupError):
        await RemoteStack.start(ServerSettings(small.url))


async def test_a_server_that_is_away_is_looked_for_as_often_as_configured() -> None:
    settings = ServerSettings(f"http://127.0.0.1:{free_port()}", attempts=3, retry_delay=0.01)
    with pytest.raises(StartupError, match=r"cannot be reached \(3 attempts\)"):
        await RemoteStack.start(settings)


async def test_closing_an_answer_closes_its_connection(small: SmallServer) -> None:
    closed = asyncio.Event()

    async def endless() -> AsyncIterator[bytes]:
        try:
            yield b'data: {"choices":[{"index":0,"delta":{"content":"one"},"finish_reason":null}]}\n\n'
            await asyncio.Event().wait()
        finally:
            closed.set()

    small.answers["/chat/completions"] = StreamingResponse(endless(), media_type="text/event-stream")
    stack = await RemoteStack.start(ServerSettings(small.url))
    try:
        answer = await stack.chat(ChatRequest("a/b", ({"role": "user", "content": "x"},), stream=True))
        assert (await anext(answer)).text == "one"
        await answer.aclose()
        with anyio.fail_after(5):
            await closed.wait()
    finally:
        await stack.close()


async def test_a_server_that_does_not_list_its_models_stops_the_start(small: SmallServer) -> None:
    del small.answers["/models"]
    with pytest.raises(StartupError, match="does not list its models"):
        await RemoteStack.start(ServerSettings(small.url))
