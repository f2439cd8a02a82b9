import asyncio
import logging
import sqlite3
import stat
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest
from sqlalchemy import Connection, text

from lightspeed.errors import ConfigurationError, StartupError, StorageError
from lightspeed.storage.conversations import Conversations
from lightspeed.storage.database import Database
from tests.storage.turns import a_turn

pytestmark = pytest.mark.anyio


@pytest.fixture
async def sqlite(tmp_path: Path) -> AsyncIterator[Database]:
    database = Database.at(tmp_path / "lightspeed.db")
    await database.open()
    yield database
    await database.close()


def pragma(name: str, connection: Connection) -> object:
    return connection.exec_driver_sql(f"PRAGMA {name}").scalar()


async def test_the_file_is_made_for_its_owner_only(tmp_path: Path) -> None:
    path = tmp_path / "state" / "lightspeed" / "service.db"
    database = Database.at(path)
    await database.open()
    await Conversations(database).record(a_turn(), begins=True)
    assert path in (files := sorted(path.parent.iterdir()))
    assert len(files) == 3  # the log and its index are there while the database is open
    assert {stat.S_IMODE(file.stat().st_mode) for file in files} == {0o600}
    for directory in (path.parent, path.parent.parent):
        assert stat.S_IMODE(directory.stat().st_mode) == 0o700
    await database.close()
    assert list(path.parent.iterdir()) == [path]


async def test_each_connection_is_set_up(sqlite: Database) -> None:
    async def settings() -> list[object]:
        names = ("journal_mode", "synchronous", "foreign_keys", "busy_timeout")
        return await sqlite.read(lambda connection: [pragma(name, connection) for name in names])

    found = await asyncio.gather(*(settings() for _ in range(10)))
    assert all(values == ["wal", 2, 1, 10_000] for values in found)


async def test_many_open_a_new_database_at_once(tmp_path: Path) -> None:
    databases = [Database.at(tmp_path / f"{number % 2}.db") for number in range(8)]
    await asyncio.gather(*(database.open() for database in databases))
    await asyncio.gather(*(Conversations(database).record(a_turn(), begins=True) for database in databases))
    for database in databases[:2]:
        count = await database.read(
            lambda c: c.execute(text("SELECT count(*) FROM lightspeed_turns")).scalar()
        )
        assert count == 4
    for database in databases:
        await database.close()


async def test_a_database_is_opened_again_with_what_it_held(new_database: Database) -> None:
    turn = a_turn()
    for number in (1, 2):
        await new_database.open()
        recorded = await Conversations(new_database).record(
            replace(turn, request_id=str(number)), begins=number == 1
        )
        assert recorded is not None
        assert recorded.number == number
        await new_database.close()
    with pytest.raises(StorageError):
        await Conversations(new_database).get(turn.conversation_id)


async def test_an_error_takes_the_whole_transaction_back(database: Database) -> None:
    def work(connection: Connection) -> None:
        connection.exec_driver_sql("CREATE TABLE half (a int)")
        raise KeyError("mine")

    with pytest.raises(KeyError, match="mine"):
        await database.write(work)
    await database.write(lambda connection: connection.exec_driver_sql("CREATE TABLE half (a int)") and None)


async def test_a_writer_waits_for_another_process_and_readers_do_not(
    sqlite: Database, tmp_path: Path
) -> None:
    conversations = Conversations(sqlite)
    turn = a_turn()
    await conversations.record(turn, begins=True)
    other = sqlite3.connect(tmp_path / "lightspeed.db", isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    waiting = asyncio.create_task(conversations.record(replace(turn, request_id="2"), begins=False))
    for _ in range(20):
        assert len(await conversations.turns(turn.conversation_id)) == 1
    assert not waiting.done()
    other.execute("COMMIT")
    other.close()
    recorded = await waiting
    assert recorded is not None
    assert recorded.number == 2


async def test_a_failure_tells_no_secrets(database: Database, caplog: pytest.LogCaptureFixture) -> None:
    def work(connection: Connection) -> None:
        connection.execute(text("INSERT INTO missing VALUES (:value)"), {"value": "hunter2"})

    with caplog.at_level(logging.DEBUG), pytest.raises(StorageError) as raised:
        await database.write(work)
    assert raised.value.__cause__ is None
    assert raised.value.__suppress_context__
    assert "missing" in caplog.text
    assert "hunter2" not in caplog.text + str(raised.value)


async def test_what_is_no_database_cannot_be_opened(tmp_path: Path) -> None:
    (tmp_path / "text.db").write_text("This is a text and not a database. " * 50)
    (tmp_path / "directory.db").mkdir()
    for path in (tmp_path / "text.db", tmp_path / "directory.db", tmp_path / "text.db" / "inside.db"):
        with pytest.raises(StartupError, match=path.name) as raised:
            await Database.at(path).open()
        assert "\n" not in str(raised.value)


@pytest.mark.parametrize(
    "url",
    [
        "",
        "nonsense",
        "mysql://root:hunter2@host/db",
        "sqlite://",
        "sqlite:///:memory:",
        "postgresql://u:hunter2@h:x/d",
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


async def test_a_database_in_memory_is_its_own_and_goes_with_its_end() -> None:
    one, other = Database.in_memory(), Database.in_memory()
    turn = a_turn()
    for database in (one, other):
        await database.open()
    await asyncio.gather(*(Conversations(one).record(a_turn(), begins=True) for _ in range(10)))
    await Conversations(one).record(turn, begins=True)
    assert len(await Conversations(one).newest(None)) == 11
    assert await Conversations(other).newest(None) == []
    assert await one.trouble() is None
    for database in (one, other):
        await database.close()


async def test_trouble_is_told_in_one_line(new_database: Database) -> None:
    assert "closed" in (await new_database.trouble() or "closed")
    await new_database.open()
    assert await new_database.trouble() is None
    await new_database.close()
    trouble = await new_database.trouble()
    assert trouble is not None
    assert "\n" not in trouble
