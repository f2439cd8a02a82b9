import asyncio
from datetime import timedelta

import pytest

from lightspeed.errors import NotFound
from lightspeed.storage.conversations import Conversations, Held
from lightspeed.storage.database import Database
from lightspeed.storage.identifiers import new_conversation_id
from lightspeed.storage.interrupts import Interrupts, Wish
from lightspeed.storage.records import Conversation, Exchange
from tests.storage.turns import START, a_turn, begun, following, ids, recorded

pytestmark = pytest.mark.anyio


async def test_an_unknown_conversation_has_nothing(conversations: Conversations) -> None:
    assert await conversations.get(new_conversation_id()) is None
    assert await conversations.turns(new_conversation_id()) == []
    assert await conversations.exchanges(new_conversation_id(), 3) == []


async def test_the_last_exchanges_come_oldest_first(conversations: Conversations) -> None:
    turn = a_turn(query="1")
    await recorded(conversations, turn, *(following(turn, query=str(number)) for number in range(2, 12)))
    whole = [str(number) for number in range(1, 12)]
    assert [t.query for t in await conversations.turns(turn.conversation_id)] == whole

    async def told(last: int) -> list[str]:
        return [exchange.query for exchange in await conversations.exchanges(turn.conversation_id, last)]

    assert await told(2) == ["10", "11"]
    assert await told(99) == whole
    assert await told(0) == []
    [last] = await conversations.exchanges(turn.conversation_id, 1)
    assert last == Exchange("11", turn.attachments, turn.answer)


async def test_a_users_conversations_come_newest_first(conversations: Conversations) -> None:
    old, new = await begun(conversations, 1), await begun(conversations, 3)
    foreign = await begun(conversations, 2, user_id="bob")
    assert ids(await conversations.newest("alice")) == [new, old]
    assert ids(await conversations.newest("alice", limit=1)) == [new]
    assert ids(await conversations.newest(None)) == [new, foreign, old]
    assert await conversations.newest("ALICE") == []


async def test_pages_join_without_gap_or_overlap(conversations: Conversations) -> None:
    # Several at the same moment: there the id decides.
    for number in range(13):
        await begun(conversations, number // 3, user_id="bob" if number % 5 == 0 else "alice")
    for user in ("alice", None):
        whole = ids(await conversations.newest(user))
        pages: list[str] = []
        while page := ids(await conversations.newest(user, limit=3, after=pages[-1] if pages else None)):
            pages += page
        assert pages == whole


async def test_a_page_starts_at_a_conversation_of_the_user(conversations: Conversations) -> None:
    foreign = await begun(conversations, 1, user_id="bob")
    for unknown in (foreign, new_conversation_id()):
        with pytest.raises(NotFound):
            await conversations.newest("alice", after=unknown)


async def test_a_name_is_given(conversations: Conversations) -> None:
    old, new = await begun(conversations, 1), await begun(conversations, 2)
    assert await conversations.rename(old, "Nodes")
    assert ids(await conversations.newest("alice")) == [new, old]
    touched = START + timedelta(minutes=3)
    assert await conversations.rename(old, "Zones", now=touched)
    first, _ = await conversations.newest("alice")
    assert (first.id, first.topic_summary, first.last_message_at) == (old, "Zones", touched)
    assert not await conversations.rename(new_conversation_id(), "x")


async def test_a_suggested_name_replaces_none(conversations: Conversations) -> None:
    conversation_id = await begun(conversations, 1)

    async def suggested(name: str) -> Conversation:
        assert await conversations.suggest_name(conversation_id, name, input_tokens=20, output_tokens=3)
        found = await conversations.get(conversation_id)
        assert found is not None
        return found

    assert (await suggested("")).topic_summary is None
    assert (await suggested("Nodes")).topic_summary == "Nodes"
    last = await suggested("Zones")
    assert (last.topic_summary, last.topic_input_tokens, last.topic_output_tokens) == ("Nodes", 60, 9)
    await conversations.record(a_turn(conversation_id=conversation_id), begins=False)
    after = await conversations.get(conversation_id)
    assert after is not None
    assert (after.topic_summary, after.topic_input_tokens) == ("Nodes", 60)
    unknown = new_conversation_id()
    assert not await conversations.suggest_name(unknown, "x", input_tokens=1, output_tokens=1)


async def test_a_limit_forgets_what_rested_longest() -> None:
    database = Database.in_memory()
    await database.open()
    conversations = Conversations(database, most=2)
    oldest, older = await begun(conversations, 1), await begun(conversations, 2)
    await conversations.record(
        a_turn(conversation_id=oldest, completed_at=START + timedelta(minutes=3)), begins=False
    )
    newest = await begun(conversations, 4)
    assert ids(await conversations.newest("alice")) == [newest, oldest]
    assert await conversations.turns(older) == []
    # The one that begins stays, although it has rested longest.
    late = await begun(conversations, 0)
    assert ids(await conversations.newest("alice")) == [newest, late]
    await database.close()


async def test_conversations_that_rest_come_oldest_first(conversations: Conversations) -> None:
    begun_ids = [await begun(conversations, minute) for minute in (4, 1, 3, 2)]
    order = [begun_ids[1], begun_ids[3], begun_ids[2]]
    limit = START + timedelta(minutes=4)
    assert ids(await conversations.resting_since(limit, 10)) == order
    first = await conversations.resting_since(limit, 2)
    assert ids(first) == order[:2]
    assert ids(await conversations.resting_since(limit, 2, after=first[-1])) == order[2:]


async def test_what_is_touched_meanwhile_is_not_taken_away(conversations: Conversations) -> None:
    old, touched, gone = [await begun(conversations, minute, user_id="bob") for minute in (1, 2, 3)]
    await conversations.record(a_turn(conversation_id=old, completed_at=START), begins=False)
    limit = START + timedelta(minutes=10)
    await conversations.rename(touched, "x", now=limit)
    await conversations.delete([gone])
    taken = await conversations.take_away([old, touched, gone], resting_since=limit)
    assert taken == {old: {"alice", "bob"}}
    assert ids(await conversations.newest(None)) == [touched]


async def test_a_user_is_erased(conversations: Conversations, database: Database) -> None:
    own = [await begun(conversations, minute) for minute in range(3)]
    foreign = await begun(conversations, 5, user_id="bob")
    secret = a_turn(conversation_id=foreign, query="secret", answer="secret", error={"cause": "secret"})
    await conversations.record(secret, begins=False)
    await conversations.record(a_turn(conversation_id=own[0], user_id="bob"), begins=False)
    interrupts = Interrupts(database)
    await interrupts.place(Wish("r1", "alice"))

    assert await conversations.count_user("alice") == Held(3, 1)
    erased = await conversations.erase_user("alice")

    assert (sorted(erased.conversations), erased.turns) == (sorted(own), 1)
    assert ids(await conversations.newest(None)) == [foreign]
    kept, emptied = await conversations.turns(foreign)
    assert (kept.query, kept.user_id) == ("List nodes", "bob")
    assert (emptied.user_id, emptied.number, emptied.input_tokens) == ("", 2, 40)
    for told in ("secret", "alice", "example.com", "list_nodes"):
        assert told not in str(emptied)
    assert await interrupts.unsettled(["r1"]) == []
    assert await conversations.count_user("alice") == Held(0, 0)
    assert (await conversations.erase_user("alice")).conversations == []


async def test_more_than_a_batch_of_a_user_is_erased(conversations: Conversations) -> None:
    async with asyncio.TaskGroup() as tasks:
        for minute in range(450):
            tasks.create_task(begun(conversations, minute))
    assert len((await conversations.erase_user("alice")).conversations) == 450
    assert await conversations.newest(None) == []
