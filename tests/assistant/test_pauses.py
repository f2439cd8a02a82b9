"""A Turn that waits for a person, in the database."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any

import anyio
import pytest

from lightspeed.assistant.approval_retention import ApprovalRetention
from lightspeed.assistant.assistant import Assistant
from lightspeed.assistant.events import (
    ApprovalRequired,
    Completed,
    Failed,
    Interrupted,
    Started,
    Token,
    ToolCall,
    ToolResult,
)
from lightspeed.assistant.pauses import Pauses
from lightspeed.assistant.request import Attachment, ResumeRequest
from lightspeed.errors import Conflict, Gone, NotFound, StorageError, Unauthorized
from lightspeed.retrieval.search import KnowledgeSettings
from lightspeed.stack.passages import NewPassage
from lightspeed.storage.approvals import Approvals
from lightspeed.storage.database import Database
from lightspeed.storage.erasure import Erasure
from lightspeed.storage.paused_turns import PausedTurns
from lightspeed.storage.pending import PendingTurns
from lightspeed.telemetry.metrics import Face
from lightspeed.tools.caller import Caller
from tests.assistant.conftest import House
from tests.assistant.scripted_tools import ScriptedSource, ScriptedTool
from tests.assistant.test_tools import all_events, of
from tests.scripted_model import Reply, Usage
from tests.scripted_model import ToolCall as ScriptedCall

pytestmark = pytest.mark.anyio


@pytest.fixture
def house(shared_house: House) -> House:
    return shared_house


@dataclass
class Office:
    """A process of the service: an assistant and its approvals."""

    house: House
    assistant: Assistant
    pauses: Pauses
    turns: PausedTurns
    approvals: Approvals

    async def ask(self, query: str = "Clean up n1.", **changes: Any) -> list[Any]:
        self.house.assistant = self.assistant
        return await all_events(self.house.ask(query, **changes))

    def resume(self, request_id: str, *, user_id: str = "user-1", caller: Caller | None = None) -> Any:
        return self.assistant.resume(
            ResumeRequest(request_id, user_id, Face.STREAMING_QUERY, stream=True, caller=caller)
        )

    async def resumed(self, request_id: str, **changes: Any) -> list[Any]:
        return await all_events(self.resume(request_id, **changes))

    async def decide(
        self, wanted: ApprovalRequired, *, approve: bool = True, reason: str | None = None
    ) -> None:
        for approval in wanted.approvals:
            await self.pauses.decide(approval.id, "user-1", approve=approve, reason=reason)


def office(house: House, *tools: ScriptedTool, database: Database | None = None, **settings: Any) -> Office:
    database = database or house.database
    turns, approvals = PausedTurns(database), Approvals(database)
    times = {"timeout": settings.pop("timeout", 300), "lease": settings.pop("lease", 60)}
    pauses = Pauses(turns, approvals, house.recorder, **times)
    source = settings.pop("source", None) or ScriptedSource(tools)
    assistant = house.make(tool_sources=[source], pauses=pauses, **settings)
    return Office(house, assistant, pauses, turns, approvals)


@asynccontextmanager
async def restarted(house: House, *tools: ScriptedTool, **settings: Any) -> AsyncIterator[Office]:
    """Another process on the same database."""
    database = Database.at(house.folder / "lightspeed.db")
    await database.open()
    try:
        yield office(house, *tools, database=database, **settings)
    finally:
        await database.close()


def wipe(**changes: Any) -> ScriptedTool:
    return ScriptedTool("wipe", needs_approval=True, **changes)


def asks_to_wipe(*hosts: str) -> Reply:
    calls = [ScriptedCall("wipe", {"host": host}, id=f"c-{host}") for host in hosts]
    return Reply("I will wipe.", tool_calls=calls, usage=Usage(20, 5))


async def paused(at: Office, *hosts: str, **changes: Any) -> tuple[str, ApprovalRequired]:
    """The conversation and the ending of a turn that waits."""
    at.house.model.queue(asks_to_wipe(*(hosts or ("n1",))))
    events = await at.ask(**changes)
    assert isinstance(events[-1], ApprovalRequired)
    return events[0].conversation_id, events[-1]


def read_by_model(house: House) -> list[str]:
    """The results of tools in the last question to the model."""
    messages = house.model.chats[-1].body["messages"]
    return [message["content"] for message in messages if message["role"] == "tool"]


async def test_the_turn_pauses_before_the_call_and_is_not_recorded_yet(house: House) -> None:
    tool = wipe()
    at = office(house, tool)
    house.model.queue(asks_to_wipe("n1"))
    before = datetime.now(UTC)
    events = await at.ask()
    assert [type(event) for event in events if not isinstance(event, Token)] == [
        Started,
        ToolCall,
        ApprovalRequired,
    ]
    ending = events[-1]
    (wanted,) = ending.approvals
    assert (wanted.server_label, wanted.tool_name) == ("ops", "wipe")
    assert wanted.arguments == {"host": "n1", "server_label": "ops"}
    assert timedelta(seconds=299) < wanted.expires_at - before < timedelta(seconds=320)
    assert of(events, ToolCall) == [
        ToolCall(wanted.id, "wipe", {"host": "n1", "server_label": "ops"}, "mcp_approval_request")
    ]
    assert (ending.usage.input_tokens, ending.usage.output_tokens) == (20, 5)
    assert tool.calls == []
    assert await house.conversations.get(events[0].conversation_id) is None
    (waiting,) = await at.pauses.pending("user-1")
    assert (waiting.id, waiting.status) == (wanted.id, "pending")
    assert await at.pauses.pending("user-2") == []


async def test_an_allowed_turn_completes_after_a_restart(house: House) -> None:
    at = office(house, wipe())
    attachment = Attachment("log", "text/plain", "disk full")
    conversation_id, ending = await paused(at, attachments=(attachment,))
    await at.assistant.close(5)
    tool, caller = wipe(), Caller("user-1", "a new token")
    source = ScriptedSource([tool])
    async with restarted(house, source=source) as later:
        await later.decide(ending)
        house.model.queue(Reply(" Wiped.", usage=Usage(40, 3)))
        events = await later.resumed(ending.request_id, caller=caller)
        assert await later.turns.get(ending.request_id) is None
    assert tool.calls == [{"host": "n1"}]
    assert source.callers == [caller]
    wanted = ending.approvals[0].id
    assert events[0].conversation_id == conversation_id
    assert [event for event in events if isinstance(event, ToolCall | ToolResult)] == [
        ToolResult(wanted, "success", "{}", "mcp_approval_response", 1),
        ToolCall("c-n1", "wipe", {"host": "n1", "server_label": "ops"}, "mcp_call"),
        ToolResult("c-n1", "success", "done with {'host': 'n1'}", "mcp_call", 1),
    ]
    completed = events[-1]
    assert isinstance(completed, Completed)
    assert completed.text == "I will wipe. Wiped."
    assert (completed.usage.input_tokens, completed.usage.output_tokens) == (60, 8)
    asked = house.model.chats[-1].body["messages"]
    assert [message["role"] for message in asked] == ["system", "user", "assistant", "tool"]
    assert asked[2]["tool_calls"][0]["id"] == asked[3]["tool_call_id"] == "c-n1"
    (turn,) = await house.conversations.turns(conversation_id)
    assert (turn.status, turn.answer, turn.query) == ("completed", "I will wipe. Wiped.", "Clean up n1.")
    assert [call["type"] for call in turn.tool_calls] == ["mcp_approval_request", "mcp_call"]
    assert [result["type"] for result in turn.tool_results] == ["mcp_approval_response", "mcp_call"]
    assert turn.attachments[0]["content"] == "disk full"
    assert (turn.input_tokens, turn.output_tokens) == (60, 8)


async def test_calls_that_need_nobody_run_at_once(house: House) -> None:
    free, held = ScriptedTool("look"), wipe()
    at = office(house, free, held)
    house.model.queue(
        Reply(
            tool_calls=[ScriptedCall("wipe", {"host": "n1"}), ScriptedCall("look"), ScriptedCall("no tool")]
        )
    )
    events = await at.ask()
    assert (len(free.calls), len(held.calls)) == (1, 0)
    assert sorted(result.status for result in of(events, ToolResult)) == ["failure", "success"]
    await at.decide(events[-1])
    house.model.queue(Reply("Done."))
    later = await at.resumed(events[-1].request_id)
    assert isinstance(later[-1], Completed)
    assert (len(free.calls), len(held.calls)) == (1, 1)
    assert read_by_model(house) == [
        "done with {'host': 'n1'}",
        "done with {}",
        "Error: There is no tool named 'no tool'.",
    ]
    assert [call.name for call in of(events, ToolCall)] == ["look", "no tool", "wipe"]
    assert len(later[0].told) == 5


async def test_a_denied_call_is_not_made_and_the_model_reads_why(house: House) -> None:
    tool = wipe()
    at = office(house, tool)
    conversation_id, ending = await paused(at)
    await at.decide(ending, approve=False, reason="Not in working hours")
    house.model.queue(Reply(" I have left it."))
    events = await at.resumed(ending.request_id)
    assert tool.calls == []
    assert "Not in working hours" in read_by_model(house)[0]
    assert "not allowed" in read_by_model(house)[0]
    (response,) = of(events, ToolResult)
    assert (response.status, response.content) == ("denied", '{"reason": "Not in working hours"}')
    assert isinstance(events[-1], Completed)
    (turn,) = await house.conversations.turns(conversation_id)
    assert turn.answer == "I will wipe. I have left it."


async def test_several_calls_wait_for_their_own_decisions(house: House) -> None:
    tool = wipe()
    at = office(house, tool)
    _, ending = await paused(at, "n1", "n2", "n3")
    one, two, three = ending.approvals
    assert [wanted.arguments["host"] for wanted in ending.approvals] == ["n1", "n2", "n3"]
    await at.pauses.decide(two.id, "user-1", approve=False)
    (failed,) = await at.resumed(ending.request_id)
    assert isinstance(failed.error, Conflict)
    assert one.id in failed.error.cause
    assert three.id in failed.error.cause
    assert two.id not in failed.error.cause
    await at.pauses.decide(one.id, "user-1", approve=True)
    await at.pauses.decide(three.id, "user-1", approve=True)
    house.model.queue(Reply("Done."))
    await at.resumed(ending.request_id)
    assert sorted(call["host"] for call in tool.calls) == ["n1", "n3"]
    results = read_by_model(house)
    assert results[0] == "done with {'host': 'n1'}"
    assert "not allowed" in results[1]


async def test_a_later_round_may_wait_again(house: House) -> None:
    tool = wipe()
    at = office(house, tool)
    conversation_id, first = await paused(at)
    await at.decide(first)
    house.model.queue(asks_to_wipe("n2"))
    events = await at.resumed(first.request_id)
    second = events[-1]
    assert isinstance(second, ApprovalRequired)
    assert second.request_id == first.request_id
    await at.decide(second)
    house.model.queue(Reply(" Both."))
    last = (await at.resumed(first.request_id))[-1]
    assert last.text == "I will wipe.I will wipe. Both."
    assert tool.calls == [{"host": "n1"}, {"host": "n2"}]
    (turn,) = await house.conversations.turns(conversation_id)
    assert [result["round"] for result in turn.tool_results] == [1, 1, 2, 2]


async def test_two_who_resume_at_once_call_the_tool_once(house: House) -> None:
    running, may_end = asyncio.Event(), asyncio.Event()

    async def slow(_: Mapping[str, Any]) -> str:
        running.set()
        await may_end.wait()
        return "wiped"

    tool = wipe(work=slow)
    at = office(house, tool)
    _, ending = await paused(at)
    await at.decide(ending)
    house.model.queue(Reply("Done."))
    first = at.resume(ending.request_id)
    await running.wait()
    async with restarted(house, tool) as other:
        for process in (at, other):
            (failed,) = await process.resumed(ending.request_id)
            assert isinstance(failed.error, Conflict)
        assert at.assistant.running(ending.request_id) is first
        may_end.set()
        assert isinstance((await all_events(first))[-1], Completed)
        (late,) = await other.resumed(ending.request_id)
        assert isinstance(late.error, Conflict)
    assert len(tool.calls) == 1


async def test_a_race_to_resume_has_one_winner(house: House) -> None:
    tool = wipe()
    at = office(house, tool)
    _, ending = await paused(at)
    await at.decide(ending)
    house.model.queue(Reply("Done."))
    async with restarted(house, tool) as other:
        told = await asyncio.gather(
            *(process.resumed(ending.request_id) for process in (at, other, at, other))
        )
    endings = [events[-1] for events in told]
    assert len([each for each in endings if isinstance(each, Completed)]) == 1
    assert (
        len([each for each in endings if isinstance(each, Failed) and isinstance(each.error, Conflict)]) == 3
    )
    assert len(tool.calls) == 1


@pytest.mark.parametrize("begun", [False, True])
async def test_a_turn_whose_process_has_died_goes_on_without_a_second_call(house: House, begun: bool) -> None:
    tool = wipe()
    dead = office(house, tool, lease=0.05)
    _, ending = await paused(dead)
    await dead.decide(ending)
    state, held = await dead.pauses.take(ending.request_id)
    if begun:
        state.earlier.calls[0].begun = True
        await held.keep(state.json())
    await anyio.sleep(0.06)
    async with restarted(house, tool) as other:
        house.model.queue(Reply("Done."))
        events = await other.resumed(ending.request_id)
    assert isinstance(events[-1], Completed)
    assert len(tool.calls) == (0 if begun else 1)
    assert ("not known" in read_by_model(house)[0]) is begun
    # Whoever wakes up late finds that it is not his any more.
    with pytest.raises(Conflict):
        await held.keep(state.json())


async def test_what_a_dead_process_has_done_is_not_done_again(house: House) -> None:
    tool = wipe()
    at = office(house, tool)
    _, ending = await paused(at)
    await at.decide(ending)
    house.model.queue(Reply("x", hang_at=0))
    dying = at.resume(ending.request_id)
    await house.model.wait_for_request(2)
    kept = await at.turns.get(ending.request_id)
    assert kept is not None
    dying.interrupt()
    await dying.ending()
    # The row as the process would have left it, had it died while the model was asked.
    await at.turns.pause(replace(kept, resumed_until=kept.created_at), [])
    house.model.queue(Reply("Done."))
    events = await at.resumed(ending.request_id)
    assert len(tool.calls) == 1
    assert read_by_model(house) == ["done with {'host': 'n1'}"]
    assert of(events, ToolResult) == []
    assert len(events[0].told) == 4


async def test_a_call_that_is_under_way_keeps_the_turn_held(house: House) -> None:
    under_way = anyio.Event()

    async def slow(_: Mapping[str, Any]) -> str:
        under_way.set()
        await anyio.sleep(4.5)
        return "wiped"

    tool = wipe(work=slow)
    at = office(house, tool, lease=2.0)
    _, ending = await paused(at)
    await at.decide(ending)
    house.model.queue(Reply("Done."))
    turn = at.resume(ending.request_id)
    await under_way.wait()
    async with restarted(house, tool, lease=2.0) as other:
        while True:
            [refused] = await other.resumed(ending.request_id)
            if turn.ended:
                break
            assert isinstance(refused.error, Conflict)
            await anyio.sleep(0.05)
    assert isinstance(await turn.ending(), Completed)
    assert len(tool.calls) == 1


async def test_nobody_decides_in_time(house: House) -> None:
    at = office(house, wipe(), timeout=0.05)
    conversation_id, ending = await paused(at)
    await anyio.sleep(0.06)
    wanted = ending.approvals[0].id
    assert await at.pauses.pending("user-1") == []
    with pytest.raises(Gone):
        await at.pauses.decide(wanted, "user-1", approve=True)
    with pytest.raises(Gone):
        await at.pauses.approval(wanted, "user-1")
    (failed,) = await at.resumed(ending.request_id)
    assert isinstance(failed.error, Gone)
    (turn,) = await house.conversations.turns(conversation_id)
    assert (turn.status, turn.answer) == ("failed", "I will wipe.")
    assert turn.error is not None
    assert turn.error["status_code"] == 410
    assert (turn.input_tokens, turn.output_tokens) == (20, 5)
    assert await at.turns.get(ending.request_id) is None


async def test_a_decision_gives_time_to_resume_but_not_for_ever(house: House) -> None:
    at = office(house, wipe(), timeout=0.2)
    conversation_id, ending = await paused(at)
    await at.decide(ending)
    await anyio.sleep(0.25)
    (failed,) = await at.resumed(ending.request_id)
    assert isinstance(failed.error, Gone)
    assert len(await house.conversations.turns(conversation_id)) == 1


async def test_a_conversation_that_waits_takes_no_other_question(house: House) -> None:
    at = office(house, wipe())
    house.model.queue(Reply("Hello."))
    conversation_id = (await at.ask("Hello"))[0].conversation_id
    _, ending = await paused(at, conversation_id=conversation_id)
    (failed,) = await at.ask("And now?", conversation_id=conversation_id)
    assert isinstance(failed.error, Conflict)
    assert ending.approvals[0].id in failed.error.cause
    await at.decide(ending)
    house.model.queue(Reply(" Done."))
    await at.resumed(ending.request_id)
    house.model.queue(Reply("Now."))
    assert isinstance((await at.ask("And now?", conversation_id=conversation_id))[-1], Completed)
    turns = await house.conversations.turns(conversation_id)
    assert [turn.query for turn in turns] == ["Hello", "Clean up n1.", "And now?"]


async def test_a_conversation_whose_first_turn_waits_is_known_to_its_user_only(house: House) -> None:
    at = office(house, wipe())
    conversation_id, _ = await paused(at)
    (own,) = await at.ask("And now?", conversation_id=conversation_id)
    (foreign,) = await at.ask("And now?", conversation_id=conversation_id, user_id="user-2")
    assert isinstance(own.error, Conflict)
    assert isinstance(foreign.error, NotFound)


async def test_a_question_after_the_time_is_over_is_answered(house: House) -> None:
    at = office(house, wipe(), timeout=0.05)
    conversation_id, _ = await paused(at)
    await anyio.sleep(0.06)
    house.model.queue(Reply("Now."))
    assert isinstance((await at.ask("And now?", conversation_id=conversation_id))[-1], Completed)
    turns = await house.conversations.turns(conversation_id)
    assert [(turn.query, turn.status) for turn in turns] == [
        ("Clean up n1.", "failed"),
        ("And now?", "completed"),
    ]


async def test_without_tools_of_others_nothing_is_looked_up(house: House) -> None:
    at = office(house, wipe())
    looked_up: list[str] = []

    async def of_conversation(conversation_id: str) -> Any:
        looked_up.append(conversation_id)
        return []

    at.turns.of_conversation = of_conversation  # type: ignore[method-assign]
    conversation_id = (await at.ask("Hello"))[0].conversation_id
    await at.ask("Again", conversation_id=conversation_id)
    assert looked_up == [conversation_id]
    house.assistant = house.make(pauses=at.pauses)
    await all_events(house.ask("Once more", conversation_id=conversation_id))
    assert looked_up == [conversation_id]


async def test_others_learn_nothing_of_a_turn_that_waits(house: House) -> None:
    at = office(house, wipe())
    _, ending = await paused(at)
    wanted = ending.approvals[0].id
    (failed,) = await at.resumed(ending.request_id, user_id="user-2")
    assert isinstance(failed.error, NotFound)
    with pytest.raises(NotFound):
        await at.pauses.decide(wanted, "user-2", approve=True)
    with pytest.raises(NotFound):
        await at.pauses.approval(wanted, "user-2")
    (unknown,) = await at.resumed("nothing")
    assert isinstance(unknown.error, NotFound)
    assert (await at.pauses.approval(wanted, "user-1")).status == "pending"


async def test_a_decision_is_made_once(house: House) -> None:
    at = office(house, wipe())
    _, ending = await paused(at)
    await at.decide(ending, approve=False)
    with pytest.raises(Conflict):
        await at.decide(ending)
    assert (await at.pauses.approval(ending.approvals[0].id, "user-1")).status == "denied"


async def test_a_server_that_wants_a_login_leaves_the_turn_waiting(house: House) -> None:
    tool = wipe()
    at = office(house, tool)
    _, ending = await paused(at)
    await at.decide(ending)

    async def refuse() -> None:
        raise Unauthorized("MCP server requires OAuth")

    async with restarted(house, source=ScriptedSource(prepare=refuse)) as other:
        (failed,) = await other.resumed(ending.request_id)
    assert isinstance(failed.error, Unauthorized)
    house.model.queue(Reply("Done."))
    assert isinstance((await at.resumed(ending.request_id))[-1], Completed)
    assert len(tool.calls) == 1


@pytest.mark.parametrize("tools", [[], [ScriptedTool("wipe", "evil")]], ids=["gone", "another server's"])
async def test_what_was_allowed_is_that_tool_of_that_server(house: House, tools: list[ScriptedTool]) -> None:
    at = office(house, wipe())
    _, ending = await paused(at)
    await at.decide(ending)
    async with restarted(house, *tools) as other:
        house.model.queue(Reply("It is gone."))
        events = await other.resumed(ending.request_id)
    assert events[-1].text == "I will wipe.It is gone."
    assert of(events, ToolResult)[-1].status == "failure"
    assert all(tool.calls == [] for tool in tools)


async def test_an_allowed_tool_is_found_under_another_name(house: House) -> None:
    at = office(house, wipe())
    _, ending = await paused(at)
    await at.decide(ending)
    renamed = ScriptedTool("ops__wipe", shown_name="wipe", needs_approval=True)
    async with restarted(house, renamed) as other:
        house.model.queue(Reply("Done."))
        events = await other.resumed(ending.request_id)
    assert renamed.calls == [{"host": "n1"}]
    assert [call.name for call in of(events, ToolCall)] == ["wipe"]


async def test_an_interrupted_turn_is_recorded_with_what_it_had(house: House) -> None:
    running = asyncio.Event()

    async def hang(_: Mapping[str, Any]) -> str:
        running.set()
        await anyio.sleep_forever()
        return ""

    at = office(house, wipe(work=hang))
    conversation_id, ending = await paused(at)
    await at.decide(ending)
    turn = at.resume(ending.request_id)
    await running.wait()
    assert turn.interrupt()
    assert isinstance(await turn.ending(), Interrupted)
    (recorded,) = await house.conversations.turns(conversation_id)
    assert (recorded.status, recorded.answer) == ("interrupted", "I will wipe.")
    assert await at.turns.get(ending.request_id) is None


async def test_a_turn_that_cannot_be_kept_fails_and_is_recorded(house: House) -> None:
    at = office(house, wipe())

    async def refuse(*_: Any) -> None:
        raise StorageError("Failed to query the database")

    at.turns.pause = refuse  # type: ignore[method-assign]
    house.model.queue(asks_to_wipe("n1"))
    events = await at.ask()
    assert isinstance(events[-1].error, StorageError)
    (turn,) = await house.conversations.turns(events[0].conversation_id)
    assert turn.status == "failed"


async def test_no_tool_runs_while_the_database_cannot_be_told(house: House) -> None:
    tool = wipe()
    at = office(house, tool)
    conversation_id, ending = await paused(at)
    await at.decide(ending)
    keep = at.turns.keep

    async def refuse(*_: Any) -> bool:
        raise StorageError("Failed to query the database")

    at.turns.keep = refuse  # type: ignore[method-assign]
    events = await at.resumed(ending.request_id)
    assert isinstance(events[-1].error, StorageError)
    assert tool.calls == []
    assert await house.conversations.get(conversation_id) is None
    at.turns.keep = keep  # type: ignore[method-assign]
    house.model.queue(Reply("Done."))
    assert isinstance((await at.resumed(ending.request_id))[-1], Completed)
    assert len(tool.calls) == 1


async def test_a_call_that_was_made_counts_even_if_the_database_cannot_be_told(house: House) -> None:
    tool = wipe()
    at = office(house, tool)
    conversation_id, ending = await paused(at)
    await at.decide(ending)
    kept = 0

    async def fails_after_the_call(*arguments: Any) -> bool:
        nonlocal kept
        kept += 1
        if kept > 1:
            raise StorageError("Failed to query the database")
        return await PausedTurns.keep(at.turns, *arguments)

    at.turns.keep = fails_after_the_call  # type: ignore[method-assign]
    house.model.queue(Reply("Done."))
    assert isinstance((await at.resumed(ending.request_id))[-1], Completed)
    assert kept == 2
    assert len(await house.conversations.turns(conversation_id)) == 1


async def test_passages_that_were_found_before_the_pause_are_sources_of_the_answer(house: House) -> None:
    passage = NewPassage("d1-0", "Backups live on n1.", {"document_id": "d1", "title": "Backups"})
    await house.stack.knowledge.insert("docs", [passage])
    settings = {"knowledge": KnowledgeSettings(inline=("docs",))}
    at = office(house, wipe(), **settings)
    _, ending = await paused(at)
    await at.decide(ending)
    async with restarted(house, wipe(), **settings) as other:
        house.model.queue(Reply("Done."))
        completed = (await other.resumed(ending.request_id))[-1]
    assert [chunk.content for chunk in completed.chunks] == ["Backups live on n1."]
    assert [document.doc_title for document in completed.documents] == ["Backups"]


async def test_passages_that_are_found_after_the_pause_have_the_room_that_was_left(house: House) -> None:
    text = "Backups live on n1. " * 300
    await house.stack.knowledge.insert("docs", [NewPassage("d1-0", text, {"document_id": "d1"})])
    settings: dict[str, Any] = {
        "knowledge": KnowledgeSettings(tool=("docs",)),
        "context_windows": {"scripted/scripted": 1000},
    }
    at = office(house, wipe(), **settings)
    _, ending = await paused(at)
    await at.decide(ending)
    async with restarted(house, wipe(), **settings) as other:
        house.model.queue(Reply(tool_calls=[ScriptedCall("file_search", {"query": "backups"}, id="c-2")]))
        house.model.queue(Reply("Done."))
        await other.resumed(ending.request_id)
    assert 0 < len(read_by_model(house)[-1]) < 1000 * 3.2


@pytest.mark.parametrize(("window", "fits"), [({"scripted/scripted": 1000}, True), ({}, False)])
async def test_a_turn_of_a_version_that_kept_no_room_has_what_its_messages_leave(
    house: House, window: dict[str, int], fits: bool
) -> None:
    text = "Backups live on n1. " * 300
    await house.stack.knowledge.insert("docs", [NewPassage("d1-0", text, {"document_id": "d1"})])
    settings: dict[str, Any] = {"knowledge": KnowledgeSettings(tool=("docs",)), "context_windows": window}
    at = office(house, wipe(), **settings)
    _, ending = await paused(at)
    await at.decide(ending)
    pausing = await at.turns.get(ending.request_id)
    assert pausing is not None
    del pausing.state["room"]
    await at.turns.pause(pausing, [])
    house.model.queue(Reply(tool_calls=[ScriptedCall("file_search", {"query": "backups"}, id="c-2")]))
    house.model.queue(Reply("Done."))
    await at.resumed(ending.request_id)
    found = read_by_model(house)[-1]
    assert "Backups live on n1." in found
    assert (len(found) < 1000 * 3.2) is fits


async def test_a_new_conversation_gets_its_name_when_the_turn_completes(house: House) -> None:
    at = office(house, wipe())
    conversation_id, ending = await paused(at, generate_topic_summary=True)
    await at.decide(ending)
    house.model.queue(Reply("Done."))
    house.model.queue(Reply("Cleaning up n1"))
    await at.resumed(ending.request_id)
    await at.assistant.close(5)
    found = await house.conversations.get(conversation_id)
    assert found is not None
    assert found.topic_summary == "Cleaning up n1"


async def test_the_conversation_is_erased_while_the_turn_waits(house: House) -> None:
    tool = wipe()
    at = office(house, tool)
    conversation_id, ending = await paused(at)
    erasure = Erasure(
        house.conversations,
        PendingTurns(house.folder / "pending"),
        transcripts=None,
        feedback=None,
        paused=at.turns,
    )
    assert not await erasure.paused_conversation(conversation_id, "user-2")
    assert await erasure.paused_conversation(conversation_id, "user-1")
    assert await at.pauses.pending("user-1") == []
    (failed,) = await at.resumed(ending.request_id)
    assert isinstance(failed.error, NotFound)
    assert await house.conversations.get(conversation_id) is None
    assert tool.calls == []


async def test_what_is_erased_while_it_goes_on_is_not_recorded(house: House) -> None:
    running, may_end = asyncio.Event(), asyncio.Event()

    async def slow(_: Mapping[str, Any]) -> str:
        running.set()
        await may_end.wait()
        return "wiped"

    at = office(house, wipe(work=slow))
    conversation_id, ending = await paused(at)
    await at.decide(ending)
    turn = at.resume(ending.request_id)
    await running.wait()
    await at.turns.erase_user("user-1")
    may_end.set()
    assert isinstance(await turn.ending(), Failed)
    assert len(house.model.chats) == 1
    assert await house.conversations.get(conversation_id) is None


async def test_the_upkeep_ends_what_has_expired_and_removes_old_decisions(house: House) -> None:
    at = office(house, wipe())
    first, denied = await paused(at)
    second, forgotten = await paused(at)
    await at.decide(denied, approve=False)
    house.model.queue(Reply("Left."))
    await at.resumed(denied.request_id)
    upkeep = ApprovalRetention(at.pauses, at.approvals, days=30)
    now = datetime.now(UTC)
    assert await upkeep.apply(now) == (0, 0)
    assert await upkeep.apply(now + timedelta(minutes=6)) == (1, 0)
    (turn,) = await house.conversations.turns(second)
    assert turn.status == "failed"
    assert len(await house.conversations.turns(first)) == 1
    assert await upkeep.apply(now + timedelta(hours=25)) == (0, 1)
    assert await at.approvals.of_turns([forgotten.request_id]) == []
    assert len(await at.approvals.of_turns([denied.request_id])) == 1
    assert await upkeep.apply(now + timedelta(days=31)) == (0, 1)


async def test_the_upkeep_goes_on_when_the_database_fails(house: House) -> None:
    at = office(house, wipe(), timeout=0.01)
    conversation_id, _ = await paused(at)
    upkeep = ApprovalRetention(at.pauses, at.approvals, days=30, first_after=0.01, every=0.01)
    failures = 0

    async def fails_once(*arguments: Any) -> Any:
        nonlocal failures
        failures += 1
        if failures == 1:
            raise StorageError("Failed to query the database")
        return await PausedTurns.expired(at.turns, *arguments)

    at.turns.expired = fails_once  # type: ignore[method-assign]
    running = asyncio.create_task(upkeep.run())
    with anyio.fail_after(10):
        while True:
            if await house.conversations.get(conversation_id) is not None:
                break
            await anyio.sleep(0.01)
    running.cancel()
    assert failures > 1
