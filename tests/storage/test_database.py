import asyncio
import logging
import sqlite3
import stat
from pathlib import Path

import pytest
from sqlalchemy import Connection, text

from lightspeed.errors import ConfigurationError, StartupError, StorageError
from lightspeed.storage.conversations import Conversations
from lightspeed.storage.database import Database
from tests.storage.turns import a_turn

pytestmark = pytest.mark.anyio


def pragma(name: str, connection: Connection) -> object:
    return connection.exec_driver_sql(f"PRAGMA {name}").scalar()


async def test_the_file_is_made_for_its_owner_only(tmp_path: Path) -> None:
    path = tmp_path / "state" / "lightspeed" / "service.db"
    database = Database.at(path)
    await database.open()
    await Conversations(database).record(a_turn())
    assert path in (files := sorted(path.parent.iterdir()))
    assert len(files) == 3  # the log and its index are there while the database is open
    assert {stat.S_IMODE(file.stat().st_mode) for file in files} == {0o600}
    for directory in (path.parent, path.parent.parent):
        assert stat.S_IMODE(directory.stat().st_mode) == 0o700
    await database.close()
    assert list(path.parent.iterdir()) == [path]


async def test_each_connection_is_set_up(database: Database) -> None:
    async def settings() -> list[object]:
        names = ("journal_mode", "synchronous", "foreign_keys", "busy_timeout")
        return await database.read(lambda connection: [pragma(name, connection) for name in names])

    found = await asyncio.gather(*(settings() for _ in range(10)))
    assert all(values == ["wal", 2, 1, 10_000] for values in found)


async def test_many_open_a_new_database_at_once(tmp_path: Path) -> None:
    databases = [Database.at(tmp_path / f"{number % 2}.db") for number in range(8)]
    await asyncio.gather(*(database.open() for database in databases))
    await asyncio.gather(*(Conversations(database).record(a_turn()) for database in databases))
    for database in databases[:2]:
        count = await database.read(lambda c: c.execute(text("SELECT count(*) FROM turns")).scalar())
        assert count == 4
    for database in databases:
        await database.close()


async def test_a_database_is_opened_again_with_what_it_held(tmp_path: Path) -> None:
    turn = a_turn()
    for count in (1, 2):
        database = Database.at(tmp_path / "lightspeed.db")
        await database.open()
        assert (await Conversations(database).record(turn)).number == count
        await database.close()


async def test_an_error_takes_the_whole_transaction_back(database: Database) -> None:
    def work(connection: Connection) -> None:
        connection.exec_driver_sql("CREATE TABLE half (a)")
        raise KeyError("mine")

    with pytest.raises(KeyError, match="mine"):
        await database.write(work)
    await database.write(lambda connection: connection.exec_driver_sql("CREATE TABLE half (a)") and None)


async def test_a_writer_waits_for_another_process_and_readers_do_not(
    database: Database, tmp_path: Path
) -> None:
    conversations = Conversations(database)
    turn = a_turn()
    await conversations.record(turn)
    other = sqlite3.connect(tmp_path / "lightspeed.db", isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    waiting = asyncio.create_task(conversations.record(turn))
    for _ in range(20):
        assert len(await conversations.turns(turn.conversation_id)) == 1
    assert not waiting.done()
    other.execute("COMMIT")
    other.close()
    assert (await waiting).number == 2


async def test_a_failure_tells_no_secrets(database: Database, caplog: pytest.LogCaptureFixture) -> None:
    def work(connection: Connection) -> None:
        connection.execute(text("INSERT INTO missing VALUES (:value)"), {"value": "hunter2"})

    with caplog.at_level(logging.DEBUG), pytest.raises(StorageError) as raised:
        await database.write(work)
    assert raised.value.__cause__ is None
    assert raised.value.__suppress_context__
    assert "no such table: missing" in caplog.text
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
