"""What real MCP servers offer to a caller."""

import asyncio
import json
import threading
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import httpx
import pytest
from anyio import to_thread

from lightspeed.configuration.mcp import ApprovalFilter
from lightspeed.errors import StorageError, Unauthorized
from lightspeed.tools.caller import Caller
from lightspeed.tools.mcp.mcp_tool import McpTool
from lightspeed.tools.mcp.server import McpServer
from lightspeed.tools.tool import shown_name
from tests.mcp_servers import CHALLENGE, HOST, McpAddress, free_port, mcp_server, silent_server, tool
from tests.tools.mcp.toolboxes import NOBODY, by_name, call, has, toolbox, wait_until

pytestmark = pytest.mark.anyio


async def test_a_warm_list_costs_no_request(address: McpAddress) -> None:
    async with toolbox(McpServer("ops", address.url)) as box:
        first = await box.offered(NOBODY)
        before = len(address.seen.requests)
        assert len((await box.offered(Caller("other"))).tools) == len(first.tools)
        assert address.seen.methods().count("tools/list") == 1
        # The stream of events may be opened after the first list.
        assert [kind for kind, _, _ in address.seen.requests[before:] if kind != "GET"] == []
        assert (await call(first, "echo", text="x")).status == "success"
        assert address.seen.methods().count("initialize") == 1
        assert address.seen.methods().count("tools/list") == 1


async def test_a_server_tells_that_its_tools_have_changed(address: McpAddress) -> None:
    async with toolbox(McpServer("ops", address.url)) as box:
        offer = await box.offered(NOBODY)
        await wait_until(lambda: any(method == "GET" for method, _, _ in address.seen.requests))
        await call(offer, "change", text="brand_new")

        async def is_new() -> bool:
            return "brand_new" in by_name(await box.offered(NOBODY))

        await wait_until(is_new)


async def test_what_was_listed_is_told(address: McpAddress) -> None:
    address.tools[:] = [tool("echo")]
    async with toolbox(McpServer("ops", address.url)) as box:
        [listing] = (await box.offered(NOBODY)).listings
        assert listing.server_label == "ops"
        assert json.loads(listing.content) == {
            "server_label": "ops",
            "tools": [
                {
                    "name": "echo",
                    "description": "Does echo.",
                    "input_schema": {
                        "type": "object",
                        "properties": {"text": {"type": "string"}},
                        "required": ["text"],
                    },
                }
            ],
        }


async def test_names_are_unique_towards_the_model_and_their_own_for_clients() -> None:
    with (
        mcp_server(tools=[tool("echo"), tool("file_search")]) as one,
        mcp_server(tools=[tool("echo")]) as two,
    ):
        servers = (McpServer("one", one.url), McpServer("two", two.url))
        async with toolbox(*servers, reserved={"file_search"}) as box:
            offer = await box.offered(NOBODY)
            assert list(by_name(offer)) == ["one__echo", "one__file_search", "two__echo"]
            assert [shown_name(found) for found in offer.tools] == ["echo", "file_search", "echo"]
            assert (await call(offer, "two__echo", text="2")).content == "echo: 2"
            assert two.seen.methods().count("tools/call") == 1
            assert one.seen.methods().count("tools/call") == 0


async def test_which_tools_need_approval(address: McpAddress) -> None:
    rule = ApprovalFilter(always=("fail",), never=("echo", "wait"))
    async with toolbox(McpServer("ops", address.url, require_approval=rule)) as box:
        tools = by_name(await box.offered(NOBODY))
        assert not tools["echo"].needs_approval
        assert tools["fail"].needs_approval
        assert tools["huge"].needs_approval


async def test_all_methods_of_headers_reach_the_server(tmp_path: Path, address: McpAddress) -> None:
    key = tmp_path / "key"
    await to_thread.run_sync(key.write_text, "from-file\n")
    server = McpServer(
        "ops",
        address.url,
        authorization_headers={
            "X-File": str(key),
            "authorization": "kubernetes",
            "X-Client": "client",
            "X-Login": "oauth",
        },
        headers=("X-Tenant", "traceparent", "X-Absent"),
    )
    caller = Caller(
        "u",
        "t-1",
        {"x-tenant": "blau\xe9", "traceparent": "00-1", "cookie": "no"},
        {
            "ops": {"x-client": "c", "X-LOGIN": "l", "X-Undeclared": "no", "Host": "evil"},
            "other": {"X-File": "no"},
        },
    )
    async with toolbox(server) as box:
        offer = await box.offered(caller)
        assert (await call(offer, "echo", text="x")).status == "success"
        for method in ("initialize", "tools/list", "tools/call"):
            got = address.seen.headers(method)
            assert got["x-file"] == "from-file"
            assert got["authorization"] == "Bearer t-1"
            assert (got["x-client"], got["x-login"]) == ("c", "l")
            assert got["x-tenant"] == "blau\xe9"
            assert got["host"].startswith(HOST)
            assert not got.keys() & {"x-undeclared", "x-absent", "cookie", "mcp-headers"}
        assert address.seen.headers("tools/call")["traceparent"] == "00-1"
        # Another request of the same caller has another trace, and the same connection.
        traced = Caller("u", "t-1", {**caller.headers, "traceparent": "00-2"}, caller.server_headers)
        await call(await box.offered(traced), "echo", text="x")
        assert address.seen.headers("tools/call")["traceparent"] == "00-2"
        assert address.seen.methods().count("initialize") == 1


async def test_what_one_callers_credentials_opened_serves_no_other(address: McpAddress) -> None:
    server = McpServer("ops", address.url, authorization_headers={"Authorization": "client"})
    async with toolbox(server) as box:
        for name in ("a", "b"):
            offer = await box.offered(Caller(name, server_headers={"ops": {"Authorization": name}}))
            await call(offer, "echo", text=name)
            assert address.seen.headers("tools/call")["authorization"] == f"Bearer {name}"
        assert address.seen.methods().count("initialize") == 2
        assert address.seen.methods().count("tools/list") == 2


async def test_a_server_without_its_headers_is_left_out(
    address: McpAddress, caplog: pytest.LogCaptureFixture
) -> None:
    server = McpServer("ops", address.url, authorization_headers={"Authorization": "client"})
    async with toolbox(server) as box:
        offer = await box.offered(NOBODY)
    assert not offer.tools
    [trouble] = offer.troubles
    assert (trouble.server_label, trouble.kind) == ("ops", "unresolved")
    assert not address.seen.requests
    assert "1 of 1 MCP servers are left out" in caplog.text


def wants_token(headers: Mapping[str, str]) -> bool:
    return headers.get("authorization") == "Bearer good"


@pytest.mark.parametrize("kind", ["http", "sse"])
@pytest.mark.parametrize("source", ["client", "oauth"])
async def test_wrong_credentials_are_the_callers_matter(kind: Any, source: str) -> None:
    with mcp_server(kind, allowed=wants_token) as address:
        secret = address.url.replace("http://", "http://user:pass@") + "?key=SECRET"
        server = McpServer("ops", secret, authorization_headers={"Authorization": source})
        async with toolbox(server) as box:
            wrong = Caller("u", server_headers={"ops": {"Authorization": "bad"}})
            for _ in range(2):
                with pytest.raises(Unauthorized) as refused:
                    await box.offered(wrong)
                assert refused.value.cause == f"MCP server at {address.url} requires OAuth"
                assert refused.value.response == "Missing or invalid credentials provided by client"
                assert refused.value.headers == {"WWW-Authenticate": CHALLENGE}
            asked = len(address.seen.requests)
            with pytest.raises(Unauthorized):
                await box.offered(wrong)
            assert len(address.seen.requests) == asked
            right = Caller("u", server_headers={"ops": {"Authorization": "good"}})
            assert by_name(await box.offered(right))


async def test_a_server_that_wants_a_login_is_asked_for_its_challenge() -> None:
    with mcp_server(allowed=wants_token) as address:
        server = McpServer("ops", address.url, authorization_headers={"Authorization": "oauth"})
        async with toolbox(server) as box:
            with pytest.raises(Unauthorized) as refused:
                await box.offered(NOBODY)
            assert refused.value.headers == {"WWW-Authenticate": CHALLENGE}


async def test_a_login_that_nobody_asks_for_leaves_the_server_out(address: McpAddress) -> None:
    server = McpServer("ops", address.url, authorization_headers={"Authorization": "oauth"})
    async with toolbox(server) as box:
        offer = await box.offered(NOBODY)
        assert [trouble.kind for trouble in offer.troubles] == ["unresolved"]
        assert not offer.tools
        assert not offer.listings


async def test_a_server_that_is_away_wants_no_login() -> None:
    server = McpServer("ops", f"http://{HOST}:{free_port()}/mcp", {"Authorization": "oauth"})
    async with toolbox(server) as box:
        [trouble] = (await box.offered(NOBODY)).troubles
        assert trouble.kind == "unreachable"
        assert "cannot be reached" in trouble.message


async def test_credentials_that_a_caller_cannot_give_do_not_end_the_turn() -> None:
    with mcp_server(allowed=wants_token) as address:
        async with toolbox(McpServer("ops", address.url)) as box:
            [trouble] = (await box.offered(NOBODY)).troubles
            assert (trouble.kind, trouble.message) == (
                "unauthorized",
                "MCP server 'ops' wants other credentials.",
            )


async def test_credentials_that_run_out_during_a_turn() -> None:
    valid = threading.Event()
    valid.set()
    with mcp_server(allowed=lambda _: valid.is_set()) as address:
        server = McpServer("ops", address.url, authorization_headers={"X-Key": "client"})
        async with toolbox(server) as box:
            caller = Caller("u", server_headers={"ops": {"X-Key": "k"}})
            offer = await box.offered(caller)
            valid.clear()
            outcome = await call(offer, "echo", text="x")
            assert outcome.content == "MCP server 'ops' wants other credentials."
            with pytest.raises(Unauthorized):
                await box.offered(caller)


async def test_dead_servers_hold_no_turn_up_and_are_not_asked_again() -> None:
    with silent_server() as silent, ExitStack() as stack:
        live = [stack.enter_context(mcp_server(tools=[tool(f"t{number}")])) for number in range(3)]
        servers = [McpServer(f"live{number}", one.url) for number, one in enumerate(live)]
        servers += [McpServer(f"dead{number}", f"http://{HOST}:{free_port()}/mcp") for number in range(3)]
        servers.append(McpServer("silent", silent))
        async with toolbox(*servers, patience=1.0) as box:
            await wait_until(lambda: has(box, "t0", "t1", "t2"))
            first = await box.offered(NOBODY)
            assert [(trouble.server_label, trouble.kind) for trouble in first.troubles] == [
                ("dead0", "unreachable"),
                ("dead1", "unreachable"),
                ("dead2", "unreachable"),
                ("silent", "unreachable"),
            ]
            assert first.troubles[-1].message == "MCP server 'silent' has not listed its tools yet."
            asked = [len(one.seen.methods()) for one in live]
            for _ in range(5):
                assert sorted(by_name(await box.offered(NOBODY))) == ["t0", "t1", "t2"]
            assert [len(one.seen.methods()) for one in live] == asked


async def test_lists_are_loaded_before_the_first_turn(address: McpAddress) -> None:
    servers = (
        McpServer("open", address.url),
        McpServer("user", address.url, authorization_headers={"X-Key": "client"}),
    )
    async with toolbox(*servers) as box:
        await box.begin()
        await wait_until(lambda: "tools/list" in address.seen.methods())
        offer = await box.offered(NOBODY)
        assert "echo" in by_name(offer)
        # The other server has been looked at, without what only a caller can give.
        await wait_until(lambda: address.seen.methods().count("tools/list") == 2)
        assert "x-key" not in address.seen.headers("tools/list")


async def test_who_is_away_is_known_before_anyone_asks() -> None:
    server = McpServer("dead", f"http://{HOST}:{free_port()}/mcp", authorization_headers={"X-Key": "client"})
    async with toolbox(server, patience=1000.0) as box:
        await box.begin()
        await wait_until(lambda: len(box._listings._away) == 1)
        offer = await box.offered(Caller("u", server_headers={"dead": {"X-Key": "1"}}))
        assert [trouble.kind for trouble in offer.troubles] == ["unreachable"]


@pytest.mark.parametrize(
    ("status", "headers", "body", "reason"),
    [
        (500, {}, b"", "answered 500 Internal Server Error"),
        (503, {}, b"", "answered 503 Service Unavailable"),
        (403, {}, b"", "answered 403 Forbidden"),
        (200, {"content-type": "text/html"}, b"<html>", "answered with something that is not of the Model Context Protocol"),
        (200, {"content-type": "application/json"}, b"{", "answered with something that is not JSON"),
        (200, {"content-type": "application/json"}, b"[1]", "answered with something that is not of the Model Context Protocol"),
        (200, {"content-type": "application/json"}, b'{"jsonrpc":"2.0","id":0,"result":{"a":1}}', "answered with something that is not of the Model Context Protocol"),
        (200, {"content-type": "text/event-stream"}, b"data: rubbish\n\n", "sent something that is not of the Model Context Protocol"),
        (200, {"content-type": "text/event-stream"}, b"", "ended the connection before its answer was complete"),
        (200, {"content-type": "application/json", "content-encoding": "gzip"}, b"x", "sent an answer that is packed, which was not asked for"),
        (202, {}, b"", "answered with something that is not of the Model Context Protocol"),
        (302, {"location": "http://elsewhere.example/"}, b"", "redirects to another address, which is not followed"),
        (307, {"location": "http://127.0.0.1:1/mcp"}, b"", "redirects to another address, which is not followed"),
    ],
)  # fmt: skip
async def test_servers_that_speak_something_else(
    status: int, headers: dict[str, str], body: bytes, reason: str
) -> None:
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        more = 1 if body.startswith(b"data") else 0
        lines = [f"HTTP/1.1 {status} X", *(f"{name}: {value}" for name, value in headers.items())]
        writer.write(
            "\r\n".join([*lines, f"content-length: {len(body) + more}", "connection: close", "", ""]).encode()
        )
        writer.write(body)
        await writer.drain()
        if more:  # An answer that is not complete: what is there must do.
            await reader.read()
        writer.close()

    async with await asyncio.start_server(answer, HOST, 0) as listening:
        port = listening.sockets[0].getsockname()[1]
        async with toolbox(McpServer("ops", f"http://{HOST}:{port}/mcp")) as box:
            offer = await box.offered(NOBODY)
            assert [trouble.message for trouble in offer.troubles] == [f"MCP server 'ops' {reason}."]
            assert offer.troubles[0].kind == "unreachable"


async def test_a_redirect_to_the_same_origin_is_followed_for_the_configuration_only(
    address: McpAddress,
) -> None:
    without_slash = address.url.rstrip("/")  # the test server redirects it
    added = McpServer("added", without_slash, source="api")

    async def api_servers(_: Caller) -> Sequence[McpServer]:
        return [added]

    async with toolbox(
        McpServer("ops", without_slash), api_servers=api_servers, guarded_transport=httpx.AsyncHTTPTransport
    ) as box:
        offer = await box.offered(NOBODY)
        assert {found.server_label for found in offer.tools} == {"ops"}
        [trouble] = offer.troubles
        assert trouble.message == "MCP server 'added' redirects to another address, which is not followed."


async def test_servers_of_users_come_last_and_through_the_guarded_transport(address: McpAddress) -> None:
    used: list[str] = []

    class Guarded(httpx.AsyncHTTPTransport):
        async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
            used.append(request.method)
            return await super().handle_async_request(request)

    asked: list[str] = []

    async def api_servers(caller: Caller) -> Sequence[McpServer]:
        asked.append(caller.user_id)
        return [McpServer("added", address.url, source="api"), McpServer("ops", "http://evil", source="api")]

    async with toolbox(
        McpServer("ops", address.url), api_servers=api_servers, guarded_transport=Guarded
    ) as box:
        offer = await box.offered(Caller("me"))
        assert not offer.troubles
        assert [listing.server_label for listing in offer.listings] == ["ops", "added"]
        assert used
        assert asked == ["me"]
        assert [server.url for server in await box.servers(NOBODY)] == [address.url, address.url]


async def test_without_a_guarded_transport_servers_of_users_are_not_reached(address: McpAddress) -> None:
    async def api_servers(_: Caller) -> Sequence[McpServer]:
        return [McpServer("added", address.url, source="api")]

    async with toolbox(api_servers=api_servers) as box:
        [trouble] = (await box.offered(NOBODY)).troubles
        assert trouble.kind == "unreachable"
        assert not address.seen.requests


async def test_a_refused_address_is_told(address: McpAddress) -> None:
    class Refusing(httpx.AsyncBaseTransport):
        async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
            raise httpx.ConnectError("The address is private.")

    async def api_servers(_: Caller) -> Sequence[McpServer]:
        return [McpServer("added", address.url, source="api")]

    async with toolbox(api_servers=api_servers, guarded_transport=Refusing) as box:
        [trouble] = (await box.offered(NOBODY)).troubles
        assert trouble.message == "MCP server 'added' cannot be reached: The address is private."
        assert not address.seen.requests


async def test_a_database_that_is_away_leaves_the_other_servers(
    address: McpAddress, caplog: pytest.LogCaptureFixture
) -> None:
    async def api_servers(_: Caller) -> Sequence[McpServer]:
        raise StorageError("gone")

    async with toolbox(McpServer("ops", address.url), api_servers=api_servers) as box:
        assert "echo" in by_name(await box.offered(NOBODY))
    assert "gone" in caplog.text


async def test_open_connections_are_bounded_and_end_when_idle(address: McpAddress) -> None:
    server = McpServer("ops", address.url, authorization_headers={"X-Key": "client"})
    async with toolbox(server, most_connections=2, idle_seconds=0.3) as box:
        for number in range(4):
            await box.offered(Caller("u", server_headers={"ops": {"X-Key": str(number)}}))
            assert len(box._connections) <= 2
        await wait_until(lambda: len(box._connections) == 0)
        # A server hears of the end of each session.
        await wait_until(lambda: sum(kind == "DELETE" for kind, _, _ in address.seen.requests) == 4)
        offer = await box.offered(Caller("u", server_headers={"ops": {"X-Key": "3"}}))
        assert (await call(offer, "echo", text="again")).content == "echo: again"


async def test_after_the_end_nothing_is_left() -> None:
    before = asyncio.all_tasks()
    with mcp_server() as one, silent_server() as silent:
        async with toolbox(McpServer("one", one.url), McpServer("silent", silent), patience=0.2) as box:
            await wait_until(lambda: has(box, "wait"))
            offer = await box.offered(NOBODY)
            waiting = asyncio.create_task(call(offer, "wait"))
            assert await to_thread.run_sync(one.seen.started.wait, 20)
        outcome = await waiting
        assert outcome.status == "failure"
        assert isinstance(by_name(offer)["echo"], McpTool)
        assert (await call(offer, "echo", text="x")).status == "failure"
    assert asyncio.all_tasks() == before
