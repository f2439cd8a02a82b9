"""The Turn, from question to record."""

import asyncio
import json
from collections.abc import Sequence
from typing import Any

import pytest

from lightspeed.assistant.events import (
    Completed,
    Event,
    Failed,
    Interrupted,
    Started,
    Token,
    ToolCall,
    ToolResult,
)
from lightspeed.assistant.knowledge_tool import KnowledgeTool
from lightspeed.assistant.request import Attachment
from lightspeed.errors import (
    Forbidden,
    ModelQuotaExceeded,
    ModelRefused,
    NotFound,
    PromptTooLong,
    ProviderUnavailable,
    Unprocessable,
)
from lightspeed.retrieval.okp.request import PortalQuery
from lightspeed.retrieval.search import KnowledgeSearch, KnowledgeSettings
from lightspeed.stack.passages import NewPassage
from tests.assistant.conftest import House
from tests.scripted_model import (
    ApiError,
    Reply,
    ScriptedModel,
    Usage,
    context_length_exceeded,
    insufficient_quota,
    invalid_api_key,
)
from tests.scripted_model import ToolCall as ScriptedCall

pytestmark = pytest.mark.anyio


async def all_events(turn: Any) -> list[Event]:
    return [event async for event in turn.events()]


def kinds(events: Sequence[Event]) -> list[str]:
    return [type(event).__name__ for event in events]


def text_of(events: Sequence[Event]) -> str:
    return "".join(event.text for event in events if isinstance(event, Token))


async def test_a_turn_tells_start_tokens_and_end_in_this_order(house: House) -> None:
    house.model.queue(Reply("Two nodes run.", usage=Usage(40, 3)))
    events = await all_events(house.ask())
    assert kinds(events) == ["Started", "Token", "Token", "Token", "Completed"]
    completed = events[-1]
    assert isinstance(completed, Completed)
    assert completed.text == text_of(events) == "Two nodes run."
    assert (completed.usage.input_tokens, completed.usage.output_tokens) == (40, 3)
    assert completed.truncated is False


async def test_without_streaming_the_text_comes_in_one_token_and_is_the_same(house: House) -> None:
    house.model.default(Reply("Two nodes run."))
    streamed = await all_events(house.ask())
    whole = await all_events(house.ask(stream=False))
    assert kinds(whole) == ["Started", "Token", "Completed"]
    assert text_of(whole) == text_of(streamed)
    assert house.model.chats[0].body["stream"] is True
    assert not house.model.chats[1].body.get("stream")


async def test_the_turn_is_recorded_before_its_end_is_told(house: House) -> None:
    house.model.queue(Reply("Two nodes.", usage=Usage(7, 2)))
    attachment = Attachment("log", "text/plain", "node-1 up")
    events = await all_events(house.ask(attachments=(attachment,)))
    started = events[0]
    assert isinstance(started, Started)
    (turn,) = await house.conversations.turns(started.conversation_id)
    assert (turn.query, turn.answer, turn.status, turn.number) == (
        "How many nodes?",
        "Two nodes.",
        "completed",
        1,
    )
    assert (turn.input_tokens, turn.output_tokens) == (7, 2)
    assert turn.attachments == [
        {"attachment_type": "log", "content_type": "text/plain", "content": "node-1 up"}
    ]
    await house.assistant.close(5)
    await house.recorder.close()
    (file,) = await house.files("transcripts")
    transcript = json.loads(await asyncio.to_thread(file.read_text))
    assert transcript["llm_response"] == "Two nodes."
    assert transcript["metadata"]["conversation_id"] == started.conversation_id


async def test_a_conversation_goes_on_with_what_was_said(house: House) -> None:
    house.model.queue(Reply("Two nodes."))
    first = (await all_events(house.ask("How many nodes?")))[0]
    assert isinstance(first, Started)
    house.model.queue(Reply("node-1 and node-2."))
    await all_events(house.ask("Their names?", conversation_id=first.conversation_id))
    messages = house.model.chats[1].body["messages"]
    assert [(message["role"], message["content"]) for message in messages] == [
        ("system", "You are a helpful assistant"),
        ("user", "How many nodes?"),
        ("assistant", "Two nodes."),
        ("user", "Their names?"),
    ]
    assert [turn.number for turn in await house.conversations.turns(first.conversation_id)] == [1, 2]


async def test_history_that_finds_no_room_is_left_out_and_said_to_be(house: House) -> None:
    house.assistant = house.make(context_windows={"scripted/scripted": 400})
    house.model.default(Reply("word " * 150))
    first = (await all_events(house.ask("one")))[0]
    assert isinstance(first, Started)
    await all_events(house.ask("two", conversation_id=first.conversation_id))
    events = await all_events(house.ask("three", conversation_id=first.conversation_id))
    assert isinstance(events[-1], Completed)
    assert events[-1].truncated is True
    contents = [message["content"] for message in house.model.chats[-1].body["messages"]]
    assert "one" not in contents
    assert contents[-1] == "three"


async def test_a_reader_that_leaves_does_not_stop_the_turn(house: House) -> None:
    reply = house.model.queue(Reply("one two three four", hang_at=2))
    turn = house.ask()
    async for event in turn.events():
        if isinstance(event, Token):
            break
    reply.release()
    ending = await turn.ending()
    assert isinstance(ending, Completed)
    assert ending.text == "one two three four"
    started = await turn.first()
    assert isinstance(started, Started)
    (stored,) = await house.conversations.turns(started.conversation_id)
    assert stored.answer == "one two three four"


async def test_two_readers_see_the_same_events(house: House) -> None:
    house.model.queue(Reply("one two three"))
    turn = house.ask()
    first, second = await asyncio.gather(all_events(turn), all_events(turn))
    assert first == second
    assert await all_events(turn) == first


async def test_an_interrupted_turn_keeps_what_was_said_and_stops_the_model(house: House) -> None:
    reply = house.model.queue(Reply("one two three four", hang_at=2))
    turn = house.ask()
    await reply.reached.wait()
    said = ""
    async for event in turn.events():
        if isinstance(event, Token):
            said += event.text
            if said == "one two":
                assert turn.interrupt() is True
        if isinstance(event, Interrupted):
            assert event.text == "one two"
    started = await turn.first()
    assert isinstance(started, Started)
    (stored,) = await house.conversations.turns(started.conversation_id)
    assert (stored.status, stored.answer) == ("interrupted", "one two")
    assert turn.interrupt() is False
    await asyncio.wait_for(reply.client_gone.wait(), 10)


async def test_closing_lets_running_turns_end_and_interrupts_the_rest(house: House) -> None:
    house.model.queue(Reply("one two three four", hang_at=2))
    turn = house.ask()
    async for event in turn.events():
        if isinstance(event, Token):
            break
    await house.assistant.close(grace=0.05)
    assert isinstance(await turn.ending(), Interrupted)
    started = await turn.first()
    assert isinstance(started, Started)
    (stored,) = await house.conversations.turns(started.conversation_id)
    assert stored.status == "interrupted"


@pytest.mark.parametrize(
    ("error", "kind", "times"),
    [
        (context_length_exceeded(), PromptTooLong, 1),
        (insufficient_quota(), ModelQuotaExceeded, 3),
        (invalid_api_key(), ModelRefused, 1),
        (ApiError(400, "the tool schema is odd", "invalid_request_error"), ModelRefused, 1),
        (ApiError(503, "overloaded", "server_error"), ProviderUnavailable, 3),
    ],
)
@pytest.mark.parametrize("stream", [True, False])
async def test_a_refusal_of_the_provider_is_an_error_before_the_start(
    house: House, error: ApiError, kind: type, times: int, stream: bool
) -> None:
    house.model.queue(Reply(error=error), times=times)
    events = await all_events(house.ask(stream=stream))
    assert kinds(events) == ["Failed"]
    assert isinstance(events[0], Failed)
    assert type(events[0].error) is kind
    assert "sk-" not in str(events[0].error)


async def test_a_provider_that_is_down_is_unavailable(house: House) -> None:
    await asyncio.to_thread(house.model.stop)
    (failed,) = await all_events(house.ask())
    assert isinstance(failed, Failed)
    assert type(failed.error) is ProviderUnavailable
    assert failed.error.status == 503


@pytest.mark.parametrize(
    "reply",
    [
        Reply("one two three", cut_at=2),
        Reply("one two three", malformed_at=2),
        Reply("one two three", error_at=2, error=ApiError(500, "the engine died", "server_error")),
        Reply("one two", done=False),
    ],
    ids=["cut", "malformed", "error", "unfinished"],
)
async def test_a_stream_that_breaks_ends_in_failed_and_keeps_what_was_said(
    house: House, reply: Reply
) -> None:
    house.model.queue(reply)
    events = await all_events(house.ask())
    assert kinds(events) == ["Started", "Token", "Token", "Failed"]
    failed, started = events[-1], events[0]
    assert isinstance(failed, Failed)
    assert isinstance(started, Started)
    assert failed.error.status in (502, 503)
    (stored,) = await house.conversations.turns(started.conversation_id)
    assert (stored.status, stored.answer) == ("failed", "one two")
    assert stored.error is not None
    assert stored.error["status_code"] == failed.error.status


async def test_an_answer_that_takes_too_long_fails(house: House) -> None:
    house.assistant = house.make(turn_timeout=0.3)
    house.model.queue(Reply("one two", hang_at=1))
    events = await all_events(house.ask())
    assert isinstance(events[-1], Failed)
    assert events[-1].error.status == 503


async def test_an_answer_cut_by_its_length_is_an_answer(house: House) -> None:
    house.model.queue(Reply("one two", finish_reason="length"))
    ending = await house.ask().ending()
    assert isinstance(ending, Completed)
    assert ending.text == "one two"


WINDOW = {"scripted/scripted": 2048}


async def test_passages_of_inline_stores_reach_the_model_and_the_answer(house: House) -> None:
    house.assistant = house.make(KnowledgeSettings(inline=("docs",)))
    await house.stack.knowledge.insert(
        "docs",
        [
            NewPassage(
                "a-0", "Nodes are restarted with the reboot command.", {"document_id": "a", "title": "Nodes"}
            ),
            NewPassage(
                "b-0",
                "Bananas are yellow.",
                {"document_id": "b", "title": "Fruit", "docs_url": "https://example.com/fruit"},
            ),
        ],
    )
    house.model.queue(Reply("With reboot."))
    ending = await house.ask("How are nodes restarted?").ending()
    assert isinstance(ending, Completed)
    assert {chunk.attributes["title"] for chunk in ending.chunks} == {"Nodes", "Fruit"}
    assert ending.chunks[0].source == "docs"
    assert {(item.doc_title, item.doc_url) for item in ending.documents} == {
        ("Nodes", None),
        ("Fruit", "https://example.com/fruit"),
    }
    question = house.model.chats[0].body["messages"][-1]["content"]
    assert "reboot command" in question
    assert question.endswith("How are nodes restarted?")


async def test_only_requested_inline_stores_are_searched(house: House) -> None:
    house.assistant = house.make(KnowledgeSettings(inline=("docs", "other")))
    for store in ("docs", "other"):
        await house.stack.knowledge.insert(
            store, [NewPassage(f"{store}-0", f"Nodes in {store}.", {"document_id": store})]
        )
    ending = await house.ask("nodes", vector_store_ids=("other",)).ending()
    assert isinstance(ending, Completed)
    assert [chunk.source for chunk in ending.chunks] == ["other"]
    ending = await house.ask("nodes", vector_store_ids=()).ending()
    assert isinstance(ending, Completed)
    assert ending.chunks == ()


async def test_a_store_that_is_missing_does_not_fail_the_turn(house: House) -> None:
    house.assistant = house.make(KnowledgeSettings(inline=("gone", "docs")))
    await house.stack.knowledge.insert("docs", [NewPassage("d-0", "Nodes.", {"document_id": "d"})])
    ending = await house.ask("nodes").ending()
    assert isinstance(ending, Completed)
    assert [chunk.source for chunk in ending.chunks] == ["docs"]


async def test_the_model_may_search_the_knowledge_itself(house: House) -> None:
    house.assistant = house.make(KnowledgeSettings(tool=("docs",)))
    await house.stack.knowledge.insert(
        "docs",
        [
            NewPassage(
                "a-0", "Restart with reboot.", {"document_id": "a", "title": "Nodes", "filename": "n.md"}
            )
        ],
    )
    house.model.queue(
        Reply(tool_calls=[ScriptedCall("file_search", {"query": "restart"}, id="c1")], usage=Usage(10, 5))
    )
    house.model.queue(Reply("With reboot.", usage=Usage(30, 2)))
    events = await all_events(house.ask())
    call, result = events[1], events[2]
    assert call == ToolCall("c1", "file_search", {"queries": ["restart"]}, "file_search_call")
    assert isinstance(result, ToolResult)
    assert (result.id, result.status, result.round) == ("c1", "completed", 1)
    (found,) = json.loads(result.content)["results"]
    assert found["text"] == "Restart with reboot."
    assert (found["file_id"], found["filename"]) == ("a", "n.md")
    ending = events[-1]
    assert isinstance(ending, Completed)
    assert (ending.usage.input_tokens, ending.usage.output_tokens) == (40, 7)
    assert [item.doc_title for item in ending.documents] == ["Nodes"]
    second = house.model.chats[1].body["messages"]
    assert second[-2]["tool_calls"][0]["function"]["name"] == "file_search"
    assert "Restart with reboot." in second[-1]["content"]


def pages(count: int) -> list[NewPassage]:
    """A document whose passages are all alike and stand side by side."""
    return [
        NewPassage(
            f"book-{number}",
            f"Nodes, page {number}. " + f"Nodes are restarted {number}. " * 40,
            {"document_id": "book", "title": "Nodes", "chunk_index": number},
        )
        for number in range(count)
    ]


async def test_neighbours_that_are_larger_than_the_window_together_do_not_all_go(house: House) -> None:
    house.assistant = house.make(KnowledgeSettings(inline=("docs",)), context_windows=WINDOW)
    await house.stack.knowledge.insert("docs", pages(8))
    house.model.queue(Reply("With reboot."))
    ending = await house.ask("How are nodes restarted?").ending()
    assert isinstance(ending, Completed)
    (passage,) = ending.chunks
    assert 0 < len(passage.content) < 0.6 * 2048 * 3.2
    assert passage.content in house.model.chats[0].body["messages"][-1]["content"]


async def test_what_the_model_finds_itself_fits_its_window(house: House) -> None:
    house.assistant = house.make(KnowledgeSettings(tool=("docs",)), context_windows=WINDOW)
    await house.stack.knowledge.insert("docs", pages(20))
    search = ScriptedCall("file_search", {"query": "How are nodes restarted?"})
    house.model.queue(Reply(tool_calls=[search, search]))
    house.model.queue(Reply(tool_calls=[search]))
    house.model.queue(Reply("With reboot."))
    ending = await house.ask("word " * 100).ending()
    assert isinstance(ending, Completed)
    assert ending.chunks
    messages = house.model.chats[-1].body["messages"]
    assert sum(len(str(message.get("content") or "")) for message in messages) < (2048 - 512) * 3.2
    assert "no room for more" in messages[-1]["content"]


async def test_a_rest_of_the_window_too_small_for_a_passage_is_told_as_such(house: House) -> None:
    await house.stack.knowledge.insert("docs", pages(1))
    search = KnowledgeSearch(house.stack.knowledge, KnowledgeSettings(tool=("docs",)))
    tool = KnowledgeTool(search, ["docs"], PortalQuery(), room=64 + 20)
    outcome = await tool.call({"query": "How are nodes restarted?"})
    assert "no room for more" in outcome.for_model
    assert tool.found == []


async def test_tool_calls_work_without_streaming_too(house: House) -> None:
    house.assistant = house.make(KnowledgeSettings(tool=("docs",)))
    house.model.queue(Reply("Let me look.", tool_calls=[ScriptedCall("file_search", {"query": "x"})]))
    house.model.queue(Reply(" Nothing there."))
    events = await all_events(house.ask(stream=False))
    assert kinds(events) == ["Started", "Token", "ToolCall", "ToolResult", "Token", "Completed"]
    assert isinstance(events[-1], Completed)
    assert events[-1].text == "Let me look. Nothing there."


async def test_no_tools_keeps_tools_from_the_model(house: House) -> None:
    house.assistant = house.make(KnowledgeSettings(tool=("docs",)))
    await house.ask(no_tools=True).ending()
    assert "tools" not in house.model.chats[0].body


async def test_an_unknown_tool_and_broken_arguments_are_told_to_the_model(house: House) -> None:
    house.assistant = house.make(KnowledgeSettings(tool=("docs",)))
    house.model.queue(
        Reply(
            tool_calls=[
                ScriptedCall("fly", {}, id="c1"),
                ScriptedCall("file_search", '"query": "x"', id="c2"),
            ]
        )
    )
    house.model.queue(Reply("Sorry."))
    events = await all_events(house.ask())
    results = {event.id: event for event in events if isinstance(event, ToolResult)}
    assert results["c1"].status == "failure"
    assert "fly" in results["c1"].content
    calls = {event.id: event for event in events if isinstance(event, ToolCall)}
    assert calls["c2"].args == {"queries": ["x"]}
    assert isinstance(events[-1], Completed)


async def test_rounds_of_tool_calls_are_limited(house: House) -> None:
    house.assistant = house.make(KnowledgeSettings(tool=("docs",)), max_tool_rounds=2)
    looping = Reply(tool_calls=[ScriptedCall("file_search", {"query": "again"})])
    house.model.when(lambda body: bool(body.get("tools")), looping)
    house.model.default(Reply("Enough."))
    events = await all_events(house.ask())
    assert [event.round for event in events if isinstance(event, ToolResult)] == [1, 2]
    assert isinstance(events[-1], Completed)
    assert events[-1].text == "Enough."


async def test_the_system_prompt_of_a_request_wins_unless_it_is_disabled(house: House) -> None:
    await house.ask(system_prompt="Speak like a pirate.").ending()
    assert house.model.chats[0].body["messages"][0]["content"] == "Speak like a pirate."
    house.assistant = house.make(request_may_set_system_prompt=False)
    (failed,) = await all_events(house.ask(system_prompt="Speak."))
    assert isinstance(failed, Failed)
    assert type(failed.error) is Unprocessable


async def test_an_unknown_conversation_is_not_found_and_a_foreign_one_forbidden(house: House) -> None:
    (failed,) = await all_events(house.ask(conversation_id="0" * 48))
    assert isinstance(failed, Failed)
    assert type(failed.error) is NotFound
    started = (await all_events(house.ask()))[0]
    assert isinstance(started, Started)
    (failed,) = await all_events(house.ask(user_id="user-2", conversation_id=started.conversation_id))
    assert isinstance(failed, Failed)
    assert type(failed.error) is Forbidden


async def test_an_unknown_model_is_not_found(house: House) -> None:
    (failed,) = await all_events(house.ask(provider="scripted", model="m9"))
    assert isinstance(failed, Failed)
    assert str(failed.error) == "Model not found: Model with ID m9 does not exist"


async def test_each_turn_is_counted_once(house: House) -> None:
    house.model.queue(Reply("Two.", usage=Usage(40, 3)))
    await house.ask().ending()
    text = (await asyncio.to_thread(house.metrics.exposition)).decode()
    labels = '{endpoint="/v1/query",model="scripted",provider="scripted"}'
    assert f"ls_llm_calls_total{labels} 1.0" in text
    assert f"ls_llm_token_sent_total{labels} 40.0" in text
    assert f"ls_llm_token_received_total{labels} 3.0" in text


async def test_many_turns_at_once(house: House) -> None:
    house.model.default(Reply("fine"))
    endings = await asyncio.gather(*(house.ask(f"question {number}").ending() for number in range(30)))
    assert all(isinstance(ending, Completed) for ending in endings)
    assert isinstance(house.model, ScriptedModel)


async def test_of_two_attempts_at_one_turn_the_one_that_goes_on_can_be_stopped(house: House) -> None:
    house.model.queue(Reply("one", usage=Usage(40, 1)))
    first = house.ask(request_id="r-1")
    assert house.assistant.running("r-1") is first
    await all_events(first)
    short = house.model.queue(Reply("one two", hang_at=1))
    first = house.ask(request_id="r-2")
    await short.reached.wait()
    long = house.model.queue(Reply("one two", hang_at=1))
    second = house.ask(request_id="r-2")
    await long.reached.wait()
    assert house.assistant.running("r-2") is first
    first.interrupt()
    await all_events(first)
    while True:
        if (running := house.assistant.running("r-2")) is not first:
            break
        await asyncio.sleep(0)
    assert running is second
    house.assistant.interrupt_all()
    assert isinstance((await all_events(second))[-1], Interrupted)


async def test_an_interrupt_while_the_turn_is_recorded_comes_too_late(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    writing, go_on = asyncio.Event(), asyncio.Event()
    record = house.conversations.record

    async def slowly(turn: Any, *, begins: bool) -> Any:
        writing.set()
        await go_on.wait()
        return await record(turn, begins=begins)

    monkeypatch.setattr(house.conversations, "record", slowly)
    turn = house.ask()
    await writing.wait()
    assert turn.interrupt() is False
    go_on.set()
    assert isinstance(await turn.ending(), Completed)
    started = await turn.first()
    assert isinstance(started, Started)
    assert len(await house.conversations.turns(started.conversation_id)) == 1


async def test_a_turn_that_is_interrupted_before_its_first_step_ends(house: House) -> None:
    turn = house.ask()
    assert turn.interrupt() is True
    assert isinstance(await turn.ending(), Interrupted)
    assert house.model.chats == []


async def test_a_fault_of_ours_ends_the_turn_too(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: Any, **__: Any) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr("lightspeed.assistant.assistant.referenced_documents", broken)
    ending = await house.ask().ending()
    assert isinstance(ending, Failed)
    assert ending.error.status == 500


async def test_a_model_that_only_calls_tools_gives_no_answer(house: House) -> None:
    house.assistant = house.make(KnowledgeSettings(tool=("docs",)), max_tool_rounds=1)
    house.model.default(Reply(tool_calls=[ScriptedCall("file_search", {"query": "again"})]))
    ending = await house.ask().ending()
    assert isinstance(ending, Failed)
    assert "gave no answer" in ending.error.cause
