import pytest

from lightspeed.storage.conversations import Conversations
from lightspeed.storage.database import Database
from tests.postgresql import Postgresql
from tests.storage.turns import begun, ids

pytestmark = pytest.mark.anyio


async def test_text_is_found_in_any_case(conversations: Conversations) -> None:
    question = await begun(conversations, 1, query="Wo liegt ÅRHUS?", answer="")
    answer = await begun(conversations, 2, query="", answer="Die Straße in ÖREBRO")
    topic = await begun(conversations, 3, query="", answer="")
    await conversations.rename(topic, "Ψηφίο der ÅRHUS")

    async def found(wanted: str) -> list[str]:
        return ids(await conversations.newest("alice", search=wanted))

    assert await found("århus") == [topic, question]
    assert await found("ÅRHUS") == [topic, question]
    assert await found("örebro") == [answer]
    assert await found("ψΗΦ") == [topic]
    assert await found("straße") == [answer]
    assert await found("oslo") == []
    assert await conversations.newest("bob", search="århus") == []
    page = await conversations.newest("alice", search="århus", limit=1)
    assert ids(await conversations.newest("alice", search="århus", after=page[-1].id)) == [question]


@pytest.mark.parametrize("sign", ["%", "_", "\\", "/", "'", '"', "*", "?", "[", "\ufffd"])
async def test_a_search_knows_no_wildcards(conversations: Conversations, sign: str) -> None:
    there = await begun(conversations, 1, query=f"a{sign}b")
    await begun(conversations, 2, query="a-b", answer="axxb")
    assert ids(await conversations.newest("alice", search=f"A{sign}B")) == [there]


async def test_a_search_for_odd_or_long_text_fails_nobody(conversations: Conversations) -> None:
    odd = await begun(conversations, 1, query="a\x00b")
    assert ids(await conversations.newest("alice", search="\ud800")) == [odd]
    assert await conversations.newest("alice", search="x" * 200_000) == []


async def test_a_search_knows_all_letters_where_the_database_does_not(postgresql: Postgresql) -> None:
    name = postgresql.new_database("TEMPLATE template0 LOCALE 'C'")
    database = Database(postgresql.url(name))
    await database.open()
    conversations = Conversations(database)
    there = await begun(conversations, 1, query="ÅRHUS")
    assert ids(await conversations.newest("alice", search="århus")) == [there]
    await database.close()
