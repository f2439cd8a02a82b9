"""New conversations get a name, and nobody waits for it."""

import asyncio
import logging
from typing import Any

import pytest

from lightspeed.assistant import topic_summary
from lightspeed.assistant.events import Completed, Failed, Interrupted, Started, Token
from lightspeed.assistant.settings import DEFAULT_TOPIC_SUMMARY_PROMPT
from lightspeed.errors import StorageError
from lightspeed.storage.conversations import Conversations
from tests.assistant.conftest import House
from tests.scripted_model import Reply, Usage, context_length_exceeded

pytestmark = pytest.mark.anyio

SENT, RECEIVED = "ls_llm_token_sent_total", "ls_llm_token_received_total"


def asks_for_a_name(body: dict[str, Any]) -> bool:
    return bool(body["messages"][0]["content"] == DEFAULT_TOPIC_SUMMARY_PROMPT)


async def ended(turn: Any) -> str:
    """The turn's conversation, after its end."""
    await turn.ending()
    started = await turn.first()
    assert isinstance(started, Started)
    return started.conversation_id


async def named(house: House, turn: Any) -> str | None:
    conversation_id = await ended(turn)
    await house.assistant.close(5)
    conversation = await house.conversations.get(conversation_id)
    assert conversation is not None
    return conversation.topic_summary


async def test_a_new_conversation_is_named_after_its_question(house: House) -> None:
    house.model.when(asks_for_a_name, Reply('"Cluster nodes."', usage=Usage(30, 4)))
    house.model.queue(Reply("Two.", usage=Usage(10, 2)))
    turn = house.ask("How many nodes?", generate_topic_summary=True)
    assert await named(house, turn) == "Cluster nodes"
    (request,) = [chat for chat in house.model.chats if asks_for_a_name(chat.body)]
    assert "How many nodes?" in request.body["messages"][-1]["content"]
    assert request.body["model"] == house.model.chats[0].body["model"]
    conversation = await house.conversations.get(await ended(turn))
    assert conversation is not None
    assert (conversation.topic_input_tokens, conversation.topic_output_tokens) == (30, 4)
    assert (await house.counted(SENT), await house.counted(RECEIVED)) == (40, 6)
    assert await house.counted("ls_llm_calls_total") == 2


async def test_the_answer_does_not_wait_for_the_name(house: House) -> None:
    slow = Reply("Cluster nodes", hang_at=1)
    house.model.when(asks_for_a_name, slow)
    turn = house.ask(generate_topic_summary=True)
    assert isinstance(await turn.ending(), Completed)
    await slow.reached.wait()
    slow.release()
    assert await named(house, turn) == "Cluster nodes"


async def test_a_follow_up_and_a_question_that_says_so_ask_for_no_name(house: House) -> None:
    conversation_id = await ended(house.ask(generate_topic_summary=False))
    await house.ask(conversation_id=conversation_id, generate_topic_summary=True).ending()
    await house.assistant.close(5)
    assert len(house.model.chats) == 2
    conversation = await house.conversations.get(conversation_id)
    assert conversation is not None
    assert conversation.topic_summary is None


async def test_an_interrupted_first_turn_names_its_conversation_too(house: House) -> None:
    house.model.when(asks_for_a_name, Reply("Cluster nodes"))
    house.model.queue(Reply("one two three", hang_at=2))
    turn = house.ask(generate_topic_summary=True)
    async for event in turn.events():
        if isinstance(event, Token):
            turn.interrupt()
    assert isinstance(await turn.ending(), Interrupted)
    assert await named(house, turn) == "Cluster nodes"


@pytest.mark.parametrize("reply", [Reply("one two", cut_at=1), Reply(error=context_length_exceeded())])
async def test_a_failed_first_turn_is_not_named(house: House, reply: Reply) -> None:
    house.model.queue(reply)
    assert isinstance(await house.ask(generate_topic_summary=True).ending(), Failed)
    await house.assistant.close(5)
    assert len(house.model.chats) == 1


async def test_a_model_that_goes_on_and_on_is_cut_short_and_still_counted(house: House) -> None:
    rambling = Reply(tokens=5000, delay_between=0.001)
    house.model.when(asks_for_a_name, rambling)
    name = await named(house, house.ask(generate_topic_summary=True))
    assert name is not None
    assert 60 < len(name) <= 80
    await asyncio.wait_for(rambling.client_gone.wait(), 10)
    assert rambling.sent < 5000
    (conversation,) = await house.conversations.newest("user-1")
    assert 10 < conversation.topic_output_tokens < 200
    assert conversation.topic_input_tokens > 20


async def test_tokens_count_though_no_name_came_of_them(house: House) -> None:
    house.model.when(asks_for_a_name, Reply("***", usage=Usage(30, 4)))
    assert await named(house, house.ask(generate_topic_summary=True)) is None
    (conversation,) = await house.conversations.newest("user-1")
    assert (conversation.topic_input_tokens, conversation.topic_output_tokens) == (30, 4)


@pytest.mark.parametrize(
    "reply",
    [Reply(error=context_length_exceeded()), Reply("one two", cut_at=0), Reply("one", malformed_at=0)],
)
async def test_a_name_that_cannot_be_made_is_one_line_in_the_log(
    house: House, reply: Reply, caplog: pytest.LogCaptureFixture
) -> None:
    house.model.when(asks_for_a_name, reply)
    turn = house.ask(generate_topic_summary=True)
    assert isinstance(await turn.ending(), Completed)
    with caplog.at_level(logging.WARNING, topic_summary.__name__):
        assert await named(house, turn) is None
    assert len([line for line in caplog.records if line.name == topic_summary.__name__]) == 1
    assert len(house.model.chats) == 2


async def test_a_model_that_takes_too_long_names_nothing(
    house: House, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(topic_summary, "_TAKES_AT_MOST", 0.2)
    house.model.when(asks_for_a_name, Reply("Cluster nodes", hang_at=1))
    assert await named(house, house.ask(generate_topic_summary=True)) is None
    assert "none was made in 0.2 seconds" in caplog.text


async def test_a_name_that_a_user_gave_meanwhile_stays(house: House) -> None:
    slow = Reply("Cluster nodes", hang_at=1)
    house.model.when(asks_for_a_name, slow)
    turn = house.ask(generate_topic_summary=True)
    conversation_id = await ended(turn)
    await slow.reached.wait()
    assert await house.conversations.rename(conversation_id, "Mine")
    slow.release()
    assert await named(house, turn) == "Mine"


async def test_a_conversation_that_was_deleted_meanwhile_stays_deleted(house: House) -> None:
    slow = Reply("Cluster nodes", hang_at=1)
    house.model.when(asks_for_a_name, slow)
    conversation_id = await ended(house.ask(generate_topic_summary=True))
    await slow.reached.wait()
    await house.conversations.delete([conversation_id])
    slow.release()
    await house.assistant.close(5)
    assert await house.conversations.get(conversation_id) is None


async def test_a_name_that_cannot_be_stored_is_one_line_in_the_log(
    house: House, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async def broken(*_: Any, **__: Any) -> bool:
        raise StorageError("Failed to query the database")

    monkeypatch.setattr(house.conversations, "suggest_name", broken)
    assert await named(house, house.ask(generate_topic_summary=True)) is None
    assert caplog.text.count("The name of a conversation cannot be kept") == 1


async def test_where_no_content_is_kept_no_name_tells_it(house: House) -> None:
    house.assistant = house.make(conversations=Conversations(house.database, keeps_content=False))
    await house.ask(generate_topic_summary=True).ending()
    await house.assistant.close(5)
    assert len(house.model.chats) == 1


async def test_a_long_question_is_cut(house: House) -> None:
    house.model.when(asks_for_a_name, Reply("Words"))
    assert await named(house, house.ask("word " * 5000, generate_topic_summary=True)) == "Words"
    (request,) = [chat for chat in house.model.chats if asks_for_a_name(chat.body)]
    assert 2000 < len(request.body["messages"][-1]["content"]) < 2500


async def test_an_operator_may_ask_for_names_in_other_words(house: House) -> None:
    house.assistant = house.make(topic_summary_prompt="Name it in Latin.")
    house.model.when(lambda body: "Latin" in body["messages"][0]["content"], Reply("Nodi"))
    assert await named(house, house.ask(generate_topic_summary=True)) == "Nodi"


async def test_at_the_end_names_get_only_a_short_moment(house: House) -> None:
    slow = Reply("Cluster nodes", hang_at=1)
    house.model.when(asks_for_a_name, slow)
    turn = house.ask(generate_topic_summary=True)
    await slow.reached.wait()
    async with asyncio.timeout(20):
        assert await named(house, turn) is None
    await asyncio.wait_for(slow.client_gone.wait(), 10)
