"""Servers that speak the protocol badly, or with bad intent."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest

from lightspeed.errors import Unauthorized
from lightspeed.tools.caller import Caller
from lightspeed.tools.mcp.server import McpServer
from lightspeed.tools.mcp.toolbox import McpToolbox
from lightspeed.tools.tool import Offer, ToolOutcome
from tests.mcp_servers import HOST

pytestmark = pytest.mark.anyio

NOBODY = Caller("u")
INITIALIZED = {
    "protocolVersion": "2025-06-18",
    "capabilities": {"tools": {}},
    "serverInfo": {"name": "bad", "version": "1"},
}

type Answers = dict[str, Callable[[dict[str, Any]], bytes]]
"""By JSON-RPC method: from the request to the body of the answer, or all of the answer if it begins with HTTP."""


def tool(name: str = "do", **more: Any) -> dict[str, Any]:
    return {"name": name, "inputSchema": {"type": "object"}} | more


def result(value: Any) -> Callable[[dict[str, Any]], bytes]:
    return lambda request: json.dumps({"jsonrpc": "2.0", "id": request["id"], "result": value}).encode()


def error(code: int, message: str) -> Callable[[dict[str, Any]], bytes]:
    return lambda request: json.dumps(
        {"jsonrpc": "2.0", "id": request["id"], "error": {"code": code, "message": message}}
    ).encode()


@asynccontextmanager
async def toolbox(
    answers: Answers, *, asked: list[str] | None = None, **fields: Any
) -> AsyncIterator[McpToolbox]:
    known: Answers = {
        "initialize": result(INITIALIZED),
        "tools/list": result({"tools": [tool()]}),
    } | answers

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").lower()
                length = next(
                    (int(line[15:]) for line in head.splitlines() if line[:15] == "content-length:"), 0
                )
                request = json.loads(await reader.readexactly(length) or "{}")
                if asked is not None:
                    asked.append(request.get("method", ""))
                if "id" not in request:
                    writer.write(b"HTTP/1.1 202 Accepted\r\ncontent-length: 0\r\n\r\n")
                    continue
                body = known[request["method"]](request)
                if not body.startswith(b"HTTP"):
                    head = f"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {len(body)}"
                    body = head.encode() + b"\r\n\r\n" + body
                writer.write(body)
                await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            return
        finally:
            writer.close()

    async with await asyncio.start_server(serve, HOST, 0) as listening:
        port = listening.sockets[0].getsockname()[1]
        made = McpToolbox([McpServer("bad", f"http://{HOST}:{port}/mcp", **fields)])
        try:
            yield made
        finally:
            await made.close()


async def outcome(answer: Callable[[dict[str, Any]], bytes]) -> ToolOutcome:
    async with toolbox({"tools/call": answer}) as box:
        [found] = (await box.offered(NOBODY)).tools
        got: ToolOutcome = await found.call({})
        return got


def text_result(text: bytes) -> Callable[[dict[str, Any]], bytes]:
    return lambda request: (
        b'{"jsonrpc":"2.0","id":%d,"result":{"content":[{"type":"text","text":"%s"}]}}'
        % (request["id"], text)
    )


@pytest.mark.parametrize(
    ("text", "shown"),
    [(b"a\xff\xfeb", "a\ufffd\ufffdb"), (rb"a\ud800b", "a?b"), (rb"\u0000\u001b[2J", "\ufffd\ufffd[2J")],
)  # fmt: skip
async def test_text_that_is_no_text_is_made_harmless(text: bytes, shown: str) -> None:
    got = await outcome(text_result(text))
    assert (got.status, got.content) == ("success", shown)


async def test_an_error_of_the_protocol_reaches_client_and_model() -> None:
    got = await outcome(error(-32602, "Unknown tool:\n\x1b[31mdo"))
    assert got.status == "failure"
    assert got.content == "MCP server 'bad' answered with error -32602: Unknown tool: ?[31mdo."
    assert got.for_model == f"Error: {got.content}"


async def test_a_long_error_is_cut() -> None:
    got = await outcome(error(1, "e" * 1_000_000))
    assert got.status == "failure"
    assert len(got.content) < 2200


@pytest.mark.parametrize(
    "value",
    [{"content": "text"}, {"content": [{"type": "text"}]}, [], "text", {"content": [{"type": "magic"}]}],
)
async def test_a_result_of_no_known_shape(value: Any) -> None:
    got = await outcome(result(value))
    assert got.status == "failure"
    assert "not of the Model Context Protocol" in got.content


async def test_an_answer_to_another_request_is_none() -> None:
    got = await outcome(lambda _: b'{"jsonrpc":"2.0","id":999,"result":{"content":[]}}')
    assert got.status == "failure"


async def test_deep_nesting_is_no_answer() -> None:
    deep = b"[" * 100_000 + b"]" * 100_000
    got = await outcome(lambda request: b'{"jsonrpc":"2.0","id":%d,"result":%s}' % (request["id"], deep))
    assert got.status == "failure"


async def test_a_status_is_told() -> None:
    got = await outcome(lambda _: b"HTTP/1.1 429 Too Many Requests\r\ncontent-length: 0\r\n\r\n")
    assert got.content == "MCP server 'bad' answered 429 Too Many Requests."


async def test_a_call_that_may_have_been_carried_out_is_not_sent_twice() -> None:
    asked: list[str] = []
    cut = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 999\r\nconnection: close\r\n\r\n{"

    def break_off(_: dict[str, Any]) -> bytes:
        raise ConnectionError

    for answer in (break_off, lambda _: cut + b" " * 998):
        async with toolbox({"tools/call": answer}, asked=asked) as box:
            [found] = (await box.offered(NOBODY)).tools
            assert (await found.call({})).status == "failure"
    assert asked.count("tools/call") == 2


async def test_a_call_that_a_forgotten_session_refused_is_sent_again() -> None:
    asked: list[str] = []
    lives: list[str] = []

    def begin(request: dict[str, Any]) -> bytes:
        lives.append(f"session-{len(lives)}")
        body = result(INITIALIZED)(request)
        head = f"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\nmcp-session-id: {lives[-1]}\r\n"
        return head.encode() + b"content-length: %d\r\n\r\n%s" % (len(body), body)

    def answer(request: dict[str, Any]) -> bytes:
        if len(lives) == 1:
            return b"HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\n\r\n"
        return text_result(b"done")(request)

    async with toolbox({"initialize": begin, "tools/call": answer}, asked=asked) as box:
        [found] = (await box.offered(NOBODY)).tools
        assert (await found.call({})).content == "done"
    assert asked.count("tools/call") == 2


async def offered(tools: Any, **more: Any) -> Offer:
    async with toolbox({"tools/list": result({"tools": tools, **more})}) as box:
        return await box.offered(NOBODY)


async def test_tools_that_are_too_large_or_there_twice_are_left_out() -> None:
    large = {"type": "object", "description": "d" * 100_000}
    offer = await offered([tool("a"), tool("a"), tool("n" * 300), tool("b", inputSchema=large), tool("c")])
    assert [found.name for found in offer.tools] == ["a", "c"]


async def test_descriptions_are_cut_and_cleaned() -> None:
    offer = await offered([tool("a", description="\x1b" + "d" * 100_000)])
    [function] = [found.definition["function"] for found in offer.tools]
    assert len(function["description"]) == 8192
    assert function["description"].startswith("\ufffddd")
    assert function["parameters"] == {"type": "object", "properties": {}}


async def test_a_list_without_an_end_ends() -> None:
    asked: list[str] = []

    def page(request: dict[str, Any]) -> bytes:
        return result({"tools": [tool(f"t{len(asked)}")], "nextCursor": "again"})(request)

    async with toolbox({"tools/list": page}, asked=asked) as box:
        assert len((await box.offered(NOBODY)).tools) == asked.count("tools/list") == 20


async def test_pages_are_joined() -> None:
    def page(request: dict[str, Any]) -> bytes:
        if (request.get("params") or {}).get("cursor") == "two":
            return result({"tools": [tool("b")]})(request)
        return result({"tools": [tool("a")], "nextCursor": "two"})(request)

    async with toolbox({"tools/list": page}) as box:
        assert [found.name for found in (await box.offered(NOBODY)).tools] == ["a", "b"]


@pytest.mark.parametrize("tools", ["text", [{"name": 1}], [{"inputSchema": {}}], None])
async def test_a_list_of_no_known_shape(tools: Any) -> None:
    offer = await offered(tools)
    assert [trouble.kind for trouble in offer.troubles] == ["unreachable"]


async def test_a_challenge_cannot_break_the_header() -> None:
    answer = b'HTTP/1.1 401 No\r\nwww-authenticate: Bearer x="\xe9\x01"\r\ncontent-length: 0\r\n\r\n'
    credentials = Caller("u", server_headers={"bad": {"X-Key": "k"}})
    async with toolbox({"initialize": lambda _: answer}, authorization_headers={"X-Key": "client"}) as box:
        with pytest.raises(Unauthorized) as refused:
            await box.offered(credentials)
    value = refused.value.headers.get("WWW-Authenticate", "")
    assert value.isascii()
    assert value.isprintable()
