"""Tools of others in a Turn."""

import asyncio
import json
from collections.abc import Mapping
from typing import Any

import anyio
import pytest

from lightspeed.assistant.events import Completed, Failed, Started, Token, ToolCall, ToolResult, ToolsMissing
from lightspeed.errors import InternalError, Unauthorized
from lightspeed.tools.caller import Caller
from lightspeed.tools.tool import ListedTool, ToolListing, ToolTrouble
from tests.assistant.conftest import House
from tests.assistant.scripted_tools import ScriptedSource, ScriptedTool
from tests.scripted_model import Reply
from tests.scripted_model import ToolCall as ScriptedCall

pytestmark = pytest.mark.anyio


@pytest.fixture
def house(shared_house: House) -> House:
    return shared_house


async def all_events(turn: Any) -> list[Any]:
    with anyio.fail_after(20):
        return [event async for event in turn.events()]


def of(events: list[Any], kind: type) -> list[Any]:
    return [event for event in events if isinstance(event, kind)]


def offered(chat: Any) -> list[str]:
    return [tool["function"]["name"] for tool in chat.body.get("tools") or ()]


async def test_calls_and_results_have_the_shape_of_the_contract(house: House) -> None:
    tool = ScriptedTool("disk_free")
    house.assistant = house.make(tool_sources=[ScriptedSource([tool])])
    house.model.queue(Reply(tool_calls=[ScriptedCall("disk_free", {"host": "n1"}, id="c-7")]))
    house.model.queue(Reply(tool_calls=[ScriptedCall("disk_free", {"host": "n2"}, id="c-8")]))
    house.model.queue(Reply("Enough."))
    events = await all_events(house.ask())
    assert of(events, ToolCall) == [
        ToolCall("c-7", "disk_free", {"host": "n1", "server_label": "ops"}, "mcp_call"),
        ToolCall("c-8", "disk_free", {"host": "n2", "server_label": "ops"}, "mcp_call"),
    ]
    assert of(events, ToolResult) == [
        ToolResult("c-7", "success", "done with {'host': 'n1'}", "mcp_call", 1),
        ToolResult("c-8", "success", "done with {'host': 'n2'}", "mcp_call", 2),
    ]
    assert tool.calls == [{"host": "n1"}, {"host": "n2"}]
    told = house.model.chats[2].body["messages"]
    assert [message["content"] for message in told if message["role"] == "tool"] == [
        "done with {'host': 'n1'}",
        "done with {'host': 'n2'}",
    ]


async def test_all_sources_are_asked_at_once_with_the_caller(house: House) -> None:
    both = asyncio.Barrier(2)

    async def meet() -> None:
        await both.wait()

    first = ScriptedSource([ScriptedTool("a")], prepare=meet)
    second = ScriptedSource([ScriptedTool("b")], prepare=meet)
    house.assistant = house.make(tool_sources=[first, second])
    house.model.queue(Reply("Yes."))
    caller = Caller("user-1", "secret")
    await all_events(house.ask(caller=caller))
    assert offered(house.model.chats[0]) == ["a", "b"]
    assert (first.callers, second.callers) == ([caller], [caller])


async def test_a_turn_without_tools_asks_no_source(house: House) -> None:
    source = ScriptedSource([ScriptedTool("a")])
    house.assistant = house.make(tool_sources=[source])
    house.model.queue(Reply("Yes."))
    await all_events(house.ask(no_tools=True))
    assert source.callers == []
    assert offered(house.model.chats[0]) == []


async def test_a_server_that_wants_a_login_refuses_the_question(house: House) -> None:
    async def refuse() -> None:
        raise Unauthorized("MCP server requires OAuth", headers={"WWW-Authenticate": "Bearer"})

    house.assistant = house.make(
        tool_sources=[ScriptedSource([ScriptedTool("a")]), ScriptedSource(prepare=refuse)]
    )
    (failed,) = await all_events(house.ask())
    assert isinstance(failed, Failed)
    assert isinstance(failed.error, Unauthorized)
    assert failed.error.headers == {"WWW-Authenticate": "Bearer"}
    assert house.model.chats == []


@pytest.mark.parametrize("error", [RuntimeError("broken"), InternalError()])
async def test_a_source_that_is_broken_costs_its_own_tools_only(house: House, error: Exception) -> None:
    async def fail() -> None:
        raise error

    house.assistant = house.make(
        tool_sources=[ScriptedSource(prepare=fail), ScriptedSource([ScriptedTool("a")])]
    )
    house.model.queue(Reply("Yes."))
    events = await all_events(house.ask())
    assert isinstance(events[0], Started)
    assert isinstance(events[1], ToolsMissing)
    assert isinstance(events[-1], Completed)
    assert offered(house.model.chats[0]) == ["a"]


async def test_what_is_missing_is_told_after_the_start(house: House) -> None:
    trouble = ToolTrouble("tickets", "unreachable", "It does not answer.")
    house.assistant = house.make(tool_sources=[ScriptedSource(troubles=[trouble])])
    house.model.queue(Reply("Yes."))
    events = await all_events(house.ask())
    assert events[1] == ToolsMissing("tickets", "unreachable", "It does not answer.")
    assert events[-1].text == "Yes."


async def test_of_two_tools_of_one_name_the_first_is_called(house: House) -> None:
    first, second = ScriptedTool("same"), ScriptedTool("same", "other")
    house.assistant = house.make(tool_sources=[ScriptedSource([first]), ScriptedSource([second])])
    house.model.queue(Reply(tool_calls=[ScriptedCall("same")]))
    house.model.queue(Reply("Yes."))
    await all_events(house.ask())
    assert offered(house.model.chats[0]) == ["same"]
    assert (len(first.calls), len(second.calls)) == (1, 0)


async def test_calls_of_one_round_run_at_the_same_time_and_are_read_in_order(house: House) -> None:
    slow_may_end = asyncio.Event()

    async def slow(_: Mapping[str, Any]) -> str:
        await slow_may_end.wait()
        return "slow"

    async def fast(_: Mapping[str, Any]) -> str:
        slow_may_end.set()
        return "fast"

    tools = [ScriptedTool("slow", work=slow), ScriptedTool("fast", work=fast)]
    house.assistant = house.make(tool_sources=[ScriptedSource(tools)])
    house.model.queue(Reply(tool_calls=[ScriptedCall("slow"), ScriptedCall("fast")]))
    house.model.queue(Reply("Yes."))
    await all_events(house.ask())
    told = house.model.chats[1].body["messages"]
    assert [message["content"] for message in told if message["role"] == "tool"] == ["slow", "fast"]


async def test_a_tool_that_breaks_is_a_failure_that_model_and_user_read(house: House) -> None:
    async def fail(_: Mapping[str, Any]) -> str:
        raise Unauthorized("The token of the server is worn out.")

    house.assistant = house.make(tool_sources=[ScriptedSource([ScriptedTool("a", work=fail)])])
    house.model.queue(Reply(tool_calls=[ScriptedCall("a")]))
    house.model.queue(Reply("It failed."))
    events = await all_events(house.ask())
    (result,) = of(events, ToolResult)
    assert result.status == "failure"
    assert "worn out" in result.content
    assert "worn out" in house.model.chats[1].body["messages"][-1]["content"]
    assert events[-1].text == "It failed."


async def test_rounds_are_limited(house: House) -> None:
    house.assistant = house.make(tool_sources=[ScriptedSource([ScriptedTool("a")])], max_tool_rounds=2)
    house.model.default(
        lambda body: Reply(tool_calls=[ScriptedCall("a")]) if body.get("tools") else Reply("Enough.")
    )
    events = await all_events(house.ask())
    assert events[-1].text == "Enough."
    assert [result.round for result in of(events, ToolResult)] == [1, 2]


async def test_calls_with_one_id_in_two_rounds_stay_apart(house: House) -> None:
    house.assistant = house.make(tool_sources=[ScriptedSource([ScriptedTool("a")])])
    for _ in range(2):
        house.model.queue(Reply(tool_calls=[ScriptedCall("a", id="call_0")]))
    house.model.queue(Reply("Yes."))
    events = await all_events(house.ask())
    ids = [call.id for call in of(events, ToolCall)]
    assert len(set(ids)) == 2
    assert [result.id for result in of(events, ToolResult)] == ids


async def test_what_servers_list_is_told_once_before_the_first_text_and_recorded(house: House) -> None:
    listing = ToolListing("ops", [ListedTool("a", "Does it.", {"type": "object"})])
    house.assistant = house.make(tool_sources=[ScriptedSource([ScriptedTool("a")], listings=[listing])])
    house.model.queue(Reply(tool_calls=[ScriptedCall("a")]))
    house.model.queue(Reply("Yes."))
    events = await all_events(house.ask())
    call, result = events[1], events[2]
    assert (call.name, call.args, call.type) == ("mcp_list_tools", {"server_label": "ops"}, "mcp_list_tools")
    assert (result.id, result.status, result.type, result.round) == (call.id, "success", call.type, 1)
    assert json.loads(result.content) == {
        "server_label": "ops",
        "tools": [{"name": "a", "description": "Does it.", "input_schema": {"type": "object"}}],
    }
    assert [call.type for call in of(events, ToolCall)] == ["mcp_list_tools", "mcp_call"]
    (turn,) = await house.conversations.turns(events[0].conversation_id)
    assert [call["type"] for call in turn.tool_calls] == ["mcp_list_tools", "mcp_call"]
    assert "".join(event.text for event in of(events, Token)) == "Yes."


async def test_a_call_that_needs_a_person_fails_where_nobody_can_be_asked(house: House) -> None:
    tool = ScriptedTool("wipe", needs_approval=True)
    house.assistant = house.make(tool_sources=[ScriptedSource([tool])])
    house.model.queue(Reply(tool_calls=[ScriptedCall("wipe")]))
    house.model.queue(Reply("I may not."))
    events = await all_events(house.ask())
    assert events[-1].text == "I may not."
    assert [result.status for result in of(events, ToolResult)] == ["failure"]
    assert tool.calls == []
