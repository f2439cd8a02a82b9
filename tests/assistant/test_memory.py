"""What a Turn remembers and what is kept of it, also when something fails."""

import asyncio
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from anyio import to_thread

from lightspeed.assistant import backlog, recorder
from lightspeed.assistant.events import Completed, Failed, Interrupted, Started, Token
from lightspeed.assistant.recorder import Recorder
from lightspeed.errors import Forbidden, ModelRefused, ProviderUnavailable, StorageError
from lightspeed.retrieval.search import KnowledgeSettings
from lightspeed.storage.conversations import Conversations
from lightspeed.storage.pending import PendingTurns
from lightspeed.storage.records import StoredTurn
from tests.assistant.conftest import House, locked
from tests.scripted_model import ApiError, Reply, Usage
from tests.scripted_model import ToolCall as ScriptedCall
from tests.storage.turns import a_turn

pytestmark = pytest.mark.anyio

SENT, RECEIVED = "ls_llm_token_sent_total", "ls_llm_token_received_total"


async def ended(turn: Any) -> str:
    """The turn's conversation, after its end."""
    await turn.ending()
    started = await turn.first()
    assert isinstance(started, Started)
    return started.conversation_id


async def stored(house: House, turn: Any) -> StoredTurn:
    (found,) = await house.conversations.turns(await ended(turn))
    return found


async def read_to(turn: Any, text: str) -> None:
    """Returns when the turn has said this much."""
    said = ""
    async for event in turn.events():
        if isinstance(event, Token):
            said += event.text
        if said == text:
            return


async def is_recorded(house: House) -> None:
    async with asyncio.timeout(30):
        while house.recorder.waiting:  # noqa: ASYNC110 - what is waited for has no event
            await asyncio.sleep(0.01)


async def test_an_interrupted_turn_counts_what_it_used(house: House) -> None:
    house.model.queue(Reply("one two three four", hang_at=2))
    turn = house.ask("How many nodes?")
    await read_to(turn, "one two")
    assert turn.interrupt()
    ending = await turn.ending()
    assert isinstance(ending, Interrupted)
    kept = await stored(house, turn)
    assert (kept.status, kept.answer) == ("interrupted", "one two")
    assert (kept.input_tokens, kept.output_tokens) == (17, 2)
    assert (ending.usage.input_tokens, ending.usage.output_tokens) == (17, 2)
    assert (await house.counted(SENT), await house.counted(RECEIVED)) == (17, 2)


@pytest.mark.parametrize(
    ("reply", "kind"),
    [
        (Reply("one two three", cut_at=2), ProviderUnavailable),
        (Reply("one two three", malformed_at=2), ModelRefused),
        (Reply("one two three", error_at=2, error=ApiError(500, "the engine died", "x")), ModelRefused),
        (Reply("one two", done=False), ModelRefused),
    ],
    ids=["cut", "malformed", "error", "unfinished"],
)
async def test_a_broken_stream_counts_what_it_used(house: House, reply: Reply, kind: type) -> None:
    house.model.queue(reply)
    turn = house.ask("How many nodes?")
    ending = await turn.ending()
    assert isinstance(ending, Failed)
    assert type(ending.error) is kind
    kept = await stored(house, turn)
    assert (kept.status, kept.answer) == ("failed", "one two")
    assert (kept.input_tokens, kept.output_tokens) == (17, 2)
    assert (await house.counted(SENT), await house.counted(RECEIVED)) == (17, 2)


async def test_a_turn_that_takes_too_long_keeps_and_counts_what_was_said(house: House) -> None:
    house.assistant = house.make(turn_timeout=0.5)
    house.model.queue(Reply("one two three", hang_at=2))
    turn = house.ask("How many nodes?")
    assert isinstance(await turn.ending(), Failed)
    kept = await stored(house, turn)
    assert (kept.status, kept.answer, kept.output_tokens) == ("failed", "one two", 2)


async def test_a_question_that_was_refused_costs_nothing(house: House) -> None:
    house.model.queue(Reply(error=ApiError(400, "no", "invalid_request_error")))
    assert isinstance(await house.ask().ending(), Failed)
    assert (await house.counted(SENT), await house.counted(RECEIVED)) == (0, 0)
    assert await house.conversations.newest(None) == []


async def test_a_round_that_broke_off_is_added_to_those_that_were_counted(house: House) -> None:
    house.assistant = house.make(KnowledgeSettings(tool=("docs",)))
    house.model.queue(
        Reply(tool_calls=[ScriptedCall("file_search", {"query": "nodes"})], usage=Usage(100, 10))
    )
    house.model.queue(Reply("one two three", cut_at=2))
    turn = house.ask()
    assert isinstance(await turn.ending(), Failed)
    kept = await stored(house, turn)
    assert kept.output_tokens == 12
    assert 120 < kept.input_tokens < 300


async def test_a_turn_goes_on_when_nobody_listens_any_more(house: House) -> None:
    reply = house.model.queue(Reply("one two three", hang_at=1, usage=Usage(7, 3)))
    turn = house.ask()
    await read_to(turn, "one")
    reply.release()
    await house.assistant.close(20)
    kept = await stored(house, turn)
    assert (kept.status, kept.answer, kept.input_tokens) == ("completed", "one two three", 7)


async def test_a_locked_database_takes_no_answer_away(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recorder, "_DATABASE_ANSWERS_WITHIN", 0.2)
    with locked(house.folder / "lightspeed.db"):
        turn = house.ask("while it was locked", generate_topic_summary=True)
        assert isinstance(await turn.ending(), Completed)
        assert house.recorder.waiting == 1
        assert len(await house.files("pending")) == 1
    await is_recorded(house)
    kept = await stored(house, turn)
    assert (kept.query, kept.number) == ("while it was locked", 1)
    assert await house.files("pending") == []
    # A name would have had no place yet.
    assert len(house.model.chats) == 1
    assert await house.counted("ls_storage_failures_total") == 1


async def test_a_follow_up_finds_its_conversation_right_after_an_outage(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Nobody else is to record what waits.
    await house.recorder.close()
    monkeypatch.setattr(recorder, "_DATABASE_ANSWERS_WITHIN", 0.2)
    house.model.queue(Reply("Two nodes."))
    with locked(house.folder / "lightspeed.db"):
        conversation_id = await ended(house.ask("How many nodes?"))
    house.model.queue(Reply("node-1 and node-2."))
    assert isinstance(await house.ask("Their names?", conversation_id=conversation_id).ending(), Completed)
    told = [message["content"] for message in house.model.chats[1].body["messages"]]
    assert told[1:] == ["How many nodes?", "Two nodes.", "Their names?"]
    numbers = [(turn.number, turn.query) for turn in await house.conversations.turns(conversation_id)]
    assert numbers == [(1, "How many nodes?"), (2, "Their names?")]


async def test_a_follow_up_finds_what_waits_in_another_process(house: House) -> None:
    left = replace(a_turn(), user_id="user-1")
    await PendingTurns(house.folder / "pending").add(recorder.PendingTurn(left, begins=True))
    assert await ended(house.ask("And?", conversation_id=left.conversation_id)) == left.conversation_id
    assert len(await house.conversations.turns(left.conversation_id)) == 2
    assert await house.files("pending") == []


async def test_without_its_database_a_conversation_cannot_go_on(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    conversation_id = await ended(house.ask())

    async def away(*_: Any) -> Any:
        raise StorageError("Failed to query the database")

    monkeypatch.setattr(house.database, "read", away)
    (failed,) = [event async for event in house.ask(conversation_id=conversation_id).events()]
    assert isinstance(failed, Failed)
    assert (failed.error.status, failed.error.response) == (500, "Database query failed")
    assert len(house.model.chats) == 1


async def test_a_conversation_deleted_while_its_turn_runs_stays_deleted(house: House) -> None:
    conversation_id = await ended(house.ask())
    reply = house.model.queue(Reply("one two", hang_at=1))
    turn = house.ask(conversation_id=conversation_id)
    await read_to(turn, "one")
    await house.conversations.delete([conversation_id])
    reply.release()
    ending = await turn.ending()
    assert isinstance(ending, Completed)
    assert ending.text == "one two"
    await house.recorder.close()
    assert await house.conversations.get(conversation_id) is None
    assert turn.request_id not in [file.stem for file in await house.files("transcripts")]


async def test_only_who_may_goes_on_with_a_conversation_of_another_user(house: House) -> None:
    conversation_id = await ended(house.ask("mine"))
    foreign = {"user_id": "user-2", "conversation_id": conversation_id}
    failed = await house.ask(**foreign).ending()
    assert isinstance(failed, Failed)
    assert type(failed.error) is Forbidden
    assert failed.error.cause == (
        f"User user-2 does not have permission to read conversation with ID {conversation_id}"
    )
    assert isinstance(await house.ask("yours", **foreign, may_continue_others=True).ending(), Completed)
    turns = await house.conversations.turns(conversation_id)
    assert [(turn.query, turn.user_id) for turn in turns] == [("mine", "user-1"), ("yours", "user-2")]
    conversation = await house.conversations.get(conversation_id)
    assert conversation is not None
    assert conversation.user_id == "user-1"


async def test_where_no_content_is_kept_a_follow_up_is_answered_without_it(house: House) -> None:
    silent = Conversations(house.database, keeps_content=False)
    pending = PendingTurns(house.folder / "pending")
    house.assistant = house.make(
        conversations=silent,
        recorder=Recorder(silent, pending, transcripts=None, metrics=house.metrics),
    )
    first = house.ask("a secret")
    conversation_id = await ended(first)
    completed = await first.ending()
    assert isinstance(completed, Completed)
    assert completed.truncated is False
    completed = await house.ask("more", conversation_id=conversation_id).ending()
    assert isinstance(completed, Completed)
    assert completed.truncated is True
    assert [message["content"] for message in house.model.chats[1].body["messages"][1:]] == ["more"]
    turns = await silent.turns(conversation_id)
    assert [(turn.query, turn.answer) for turn in turns] == [("", ""), ("", "")]


async def test_of_a_very_long_conversation_the_last_turns_are_told(house: House) -> None:
    first = replace(a_turn(), user_id="user-1")
    for number in range(201):
        turn = replace(first, request_id=str(number), query=f"question {number}", attachments=[])
        await house.conversations.record(turn, begins=number == 0)
    completed = await house.ask("now", conversation_id=first.conversation_id).ending()
    assert isinstance(completed, Completed)
    assert completed.truncated is True
    told = [message["content"] for message in house.model.chats[0].body["messages"]]
    assert told[1] == "question 1"
    assert len(told) == 1 + 2 * 200 + 1


async def test_a_restart_in_an_outage_loses_nothing(
    house: House, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(recorder, "_DATABASE_ANSWERS_WITHIN", 0.2)
    monkeypatch.setattr(backlog, "_CLOSES_WITHIN", 0.2)
    with locked(tmp_path / "lightspeed.db"):
        turns = [house.ask(f"question {number}") for number in range(3)]
        for turn in turns:
            assert isinstance(await turn.ending(), Completed)
        files = await house.files("pending")
        copies = [(file, await to_thread.run_sync(file.read_bytes)) for file in files]
        assert len(copies) == 3
        await house.recorder.close()
    next_process = Recorder(house.conversations, PendingTurns(tmp_path / "pending"), None, house.metrics)
    for file, content in copies:
        # As if the process had been killed before it could remove them.
        await to_thread.run_sync(file.write_bytes, content)
    next_process.start()
    async with asyncio.timeout(30):
        while await house.files("pending"):  # noqa: ASYNC110 - what is waited for has no event
            await asyncio.sleep(0.01)
    await next_process.close()
    for turn in turns:
        assert (await stored(house, turn)).number == 1
