import asyncio
import logging

import pytest
from sqlalchemy import URL, Connection, text

from lightspeed.errors import ConfigurationError, StartupError, StorageError
from lightspeed.storage.conversations import Conversations
from lightspeed.storage.database import Database
from lightspeed.storage.records import StoredTurn
from tests.storage.turns import a_turn, following, recorded

pytestmark = pytest.mark.anyio


async def test_many_open_a_new_database_at_once(place: URL) -> None:
    databases = [Database(place) for _ in range(6)]
    await asyncio.gather(*(database.open() for database in databases))
    await asyncio.gather(*(Conversations(database).record(a_turn(), begins=True) for database in databases))
    assert len(await Conversations(databases[0]).newest(None)) == 6
    await asyncio.gather(*(database.close() for database in databases))


async def test_a_database_is_opened_again_with_what_it_held(new_database: Database) -> None:
    turn = a_turn()
    for number in (1, 2):
        await new_database.open()
        stored = await Conversations(new_database).record(following(turn), begins=True)
        assert stored is not None
        assert stored.number == number
        await new_database.close()


async def test_a_closed_database_fails_transactions(database: Database) -> None:
    conversations = Conversations(database)
    await recorded(conversations, a_turn())
    await database.close()
    with pytest.raises(StorageError):
        await conversations.newest(None)
    assert "closed" in str(await database.trouble())


async def test_what_runs_when_it_is_closed_is_whole_or_absent(database: Database) -> None:
    conversations = Conversations(database)
    await recorded(conversations, a_turn())
    running = [asyncio.create_task(conversations.record(a_turn(), begins=True)) for _ in range(40)]
    for _ in range(100):
        await asyncio.sleep(0)
    await database.close()
    found = await asyncio.gather(*running, return_exceptions=True)
    stored = [turn for turn in found if not isinstance(turn, BaseException)]
    assert {type(each) for each in found} <= {StoredTurn, StorageError}
    await database.open()
    assert len(await conversations.newest(None)) == 1 + len(stored)


async def test_a_database_need_not_be_opened_before_it_is_used(new_database: Database) -> None:
    turns = [a_turn() for _ in range(5)]
    conversations = Conversations(new_database)
    await asyncio.gather(*(conversations.record(turn, begins=True) for turn in turns))
    assert len(await conversations.newest(None)) == 5
    await new_database.close()


async def test_no_trouble(database: Database) -> None:
    assert await database.trouble() is None
    assert await asyncio.gather(*(database.trouble() for _ in range(5))) == [None] * 5


async def test_an_error_takes_the_whole_transaction_back(database: Database) -> None:
    def work(connection: Connection) -> None:
        connection.exec_driver_sql("CREATE TABLE half (a INTEGER)")
        raise KeyError("mine")

    with pytest.raises(KeyError, match="mine"):
        await database.write(work)
    await database.write(
        lambda connection: connection.exec_driver_sql("CREATE TABLE half (a INTEGER)") and None
    )


async def test_a_failure_tells_no_secrets(database: Database, caplog: pytest.LogCaptureFixture) -> None:
    def work(connection: Connection) -> None:
        connection.execute(text("INSERT INTO missing VALUES (:value)"), {"value": "hunter2"})

    with caplog.at_level(logging.DEBUG), pytest.raises(StorageError) as raised:
        await database.write(work)
    assert raised.value.__cause__ is None
    assert raised.value.__suppress_context__
    assert "missing" in caplog.text
    assert "hunter2" not in caplog.text + str(raised.value)


async def test_a_database_that_does_not_fit_is_an_error_of_the_transaction_too(place: URL) -> None:
    database = Database(place)
    await database.open()
    await database.write(
        lambda c: c.execute(text("UPDATE lightspeed_version SET version_num = 'future'")) and None
    )
    await database.close()
    later = Database(place)
    with pytest.raises(StorageError):
        await Conversations(later).newest(None)
    with pytest.raises(StartupError):
        await later.open()


@pytest.mark.parametrize(
    "url",
    [
        "",
        "nonsense",
        "mysql://root:hunter2@host/db",
        "sqlite://",
        "sqlite:///:memory:",
        "postgresql://u:hunter2@h:x/d",
        "postgresql://u@h/d?password=hunter2",
    ],
)
def test_other_urls_are_refused(url: str) -> None:
    with pytest.raises(ConfigurationError) as raised:
        Database(url)
    assert "hunter2" not in str(raised.value)


def test_no_password_is_shown() -> None:
    database = Database("postgresql://alice:hunter2@db.example.com/lightspeed")
    assert "hunter2" not in repr(database)
    assert database.dialect == "postgresql"
