"""Calls of tools of real MCP servers."""

import asyncio
from contextlib import ExitStack
from typing import Any

import pytest
from anyio import to_thread

from lightspeed.tools.mcp.server import McpServer
from lightspeed.tools.tool import ToolOutcome
from tests.mcp_servers import McpAddress, free_port, mcp_server, mortal_server
from tests.tools.mcp.toolboxes import NOBODY, by_name, call, toolbox, wait_until

pytestmark = pytest.mark.anyio


async def test_tools_are_listed_and_called(any_kind: McpAddress) -> None:
    async with toolbox(McpServer("ops", any_kind.url)) as box:
        offer = await box.offered(NOBODY)
        assert not offer.troubles
        echo = by_name(offer)["echo"]
        assert echo.definition["function"] == {
            "name": "echo",
            "description": "Does echo.",
            "parameters": {
                "type": "object",
                "properties": {"text": {"type": "string"}},
                "required": ["text"],
            },
        }
        assert (echo.type, echo.server_label, echo.needs_approval) == ("mcp_call", "ops", False)
        assert echo.shown_arguments({"text": "é"}) == {"text": "é", "server_label": "ops"}
        assert await call(offer, "echo", text="é") == ToolOutcome("success", "echo: é", "echo: é")


async def test_each_kind_of_result(any_kind: McpAddress) -> None:
    async with toolbox(McpServer("ops", any_kind.url)) as box:
        offer = await box.offered(NOBODY)
        failed = await call(offer, "fail", text="n1")
        assert failed == ToolOutcome("failure", "no such host: n1", "Error: no such host: n1")
        huge = await call(offer, "huge", text="250000")
        assert huge.status == "success"
        assert huge.content == "x" * 100_000 + "\n[cut: 100000 of 250000 characters]"
        clean = (await call(offer, "control")).content
        assert clean == 'a\ufffdb\ufffd[31mred\ufffd[0m\ndata: {"event": "end"}\n\n\n\nc'
        picture = (await call(offer, "picture")).content
        assert picture.splitlines()[1] == "[image: image/png, 400 bytes]"
        assert "iVBO" not in picture
        assert (await call(offer, "structured")).content == '{"free": 81}'
        assert (await call(offer, "nothing")).content == ""


async def test_an_answer_of_many_megabytes_is_refused(any_kind: McpAddress) -> None:
    async with toolbox(McpServer("ops", any_kind.url)) as box:
        offer = await box.offered(NOBODY)
        refused = await call(offer, "huge", text=str(9 * 1024 * 1024))
        assert refused.status == "failure"
        assert "of more than 8 MB" in refused.content
        assert (await call(offer, "echo", text="on")).content == "echo: on"


@pytest.mark.parametrize("kind", ["http", "json"])
async def test_a_call_that_fails_leaves_the_others_alone(kind: Any) -> None:
    with mcp_server(kind) as address:
        async with toolbox(McpServer("ops", address.url)) as box:
            offer = await box.offered(NOBODY)
            slow, refused = await asyncio.gather(
                call(offer, "sleep", text="1"), call(offer, "huge", text=str(9 * 1024 * 1024))
            )
            assert (slow.status, refused.status) == ("success", "failure")
            assert (await call(offer, "echo", text="on")).content == "echo: on"


async def test_a_cancelled_turn_cancels_the_call(any_kind: McpAddress) -> None:
    any_kind.seen.started.clear()
    any_kind.seen.cancelled.clear()
    async with toolbox(McpServer("ops", any_kind.url)) as box:
        offer = await box.offered(NOBODY)
        turn = asyncio.create_task(call(offer, "wait"))
        assert await to_thread.run_sync(any_kind.seen.started.wait, 20)
        turn.cancel()
        with pytest.raises(asyncio.CancelledError):
            await turn
        assert await to_thread.run_sync(any_kind.seen.cancelled.wait, 20)
        assert (await call(offer, "echo", text="on")).content == "echo: on"


async def test_a_call_ends_at_the_servers_timeout(any_kind: McpAddress) -> None:
    any_kind.seen.cancelled.clear()
    async with toolbox(McpServer("ops", any_kind.url, timeout=1)) as box:
        offer = await box.offered(NOBODY)
        waiting = asyncio.create_task(call(offer, "wait"))
        assert (await call(offer, "echo", text="beside")).content == "echo: beside"
        outcome = await waiting
        assert outcome.status == "failure"
        assert outcome.content.startswith("MCP server 'ops' did not answer within 1 s.")
        assert await to_thread.run_sync(any_kind.seen.cancelled.wait, 20)
        assert (await call(offer, "echo", text="on")).content == "echo: on"


async def test_calls_run_at_the_same_time(any_kind: McpAddress) -> None:
    async with toolbox(McpServer("ops", any_kind.url)) as box:
        offer = await box.offered(NOBODY)
        outcomes = await asyncio.gather(*(call(offer, "echo", text=str(number)) for number in range(20)))
        assert [outcome.content for outcome in outcomes] == [f"echo: {number}" for number in range(20)]


@pytest.mark.parametrize("kind", ["http", "sse"])
async def test_a_server_that_dies_in_mid_call(kind: Any) -> None:
    with mortal_server(kind) as url:
        async with toolbox(McpServer("ops", url)) as box:
            offer = await box.offered(NOBODY)
            waiting = asyncio.create_task(call(offer, "wait"))
            assert (await call(offer, "echo", text="alive")).content == "echo: alive"
            for outcome in (await call(offer, "die"), await waiting):
                assert outcome.status == "failure"
                assert outcome.content.startswith("MCP server 'ops' ended the connection before ")
                assert outcome.content.endswith("The call may have been carried out.")

            async def is_away() -> bool:
                later = await call(offer, "echo", text="dead")
                assert later.status == "failure"
                assert "may have been" not in later.content
                return later.content.startswith("MCP server 'ops' cannot be reached")

            await wait_until(is_away)
            [trouble] = (await box.offered(NOBODY)).troubles
            assert (trouble.server_label, trouble.kind) == ("ops", "unreachable")


@pytest.mark.parametrize("kind", ["http", "sse"])
async def test_a_server_that_was_started_again_is_found_again(kind: Any) -> None:
    port = free_port()
    with ExitStack() as stack:
        url = await to_thread.run_sync(stack.enter_context, mortal_server(kind, port))
        async with toolbox(McpServer("ops", url)) as box:
            offer = await box.offered(NOBODY)
            assert (await call(offer, "echo", text="1")).status == "success"
            await to_thread.run_sync(stack.close)
            await to_thread.run_sync(stack.enter_context, mortal_server(kind, port))
            assert (await call(offer, "echo", text="2")).content == "echo: 2"
