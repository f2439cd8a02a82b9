import asyncio
import sqlite3
import stat
import threading
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from sqlalchemy import Connection

from lightspeed.errors import StartupError
from lightspeed.storage.conversations import Conversations
from lightspeed.storage.database import Database
from tests.storage.folders import names
from tests.storage.turns import a_turn, following, recorded

pytestmark = pytest.mark.anyio


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "lightspeed.db"


@pytest.fixture
def other(path: Path) -> Iterator[sqlite3.Connection]:
    """Another program that has opened the file."""
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        yield connection


def pragma(name: str, connection: Connection) -> object:
    return connection.exec_driver_sql(f"PRAGMA {name}").scalar()


async def test_the_file_is_made_for_its_owner_only(tmp_path: Path) -> None:
    path = tmp_path / "state" / "lightspeed" / "service.db"
    database = Database.at(path)
    await database.open()
    await recorded(Conversations(database), a_turn())
    assert path in (files := sorted(path.parent.iterdir()))
    assert len(files) == 3  # the log and its index are there while the database is open
    assert {stat.S_IMODE(file.stat().st_mode) for file in files} == {0o600}
    for directory in (path.parent, path.parent.parent):
        assert stat.S_IMODE(directory.stat().st_mode) == 0o700
    await database.close()
    assert list(path.parent.iterdir()) == [path]


async def test_each_connection_is_set_up(path: Path) -> None:
    database = Database.at(path)
    await database.open()

    async def settings() -> list[object]:
        names = ("journal_mode", "synchronous", "foreign_keys", "busy_timeout")
        return await database.read(lambda connection: [pragma(name, connection) for name in names])

    found = await asyncio.gather(*(settings() for _ in range(10)))
    assert all(values == ["wal", 2, 1, 10_000] for values in found)
    await database.close()


async def test_a_writer_waits_for_another_process_and_readers_do_not(path: Path) -> None:
    database = Database.at(path)
    conversations = Conversations(database)
    turn = a_turn()
    await recorded(conversations, turn)
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        waiting = asyncio.create_task(conversations.record(following(turn), begins=False))
        for _ in range(20):
            assert len(await conversations.turns(turn.conversation_id)) == 1
        assert await database.trouble() is None
        assert not waiting.done()
        other.execute("COMMIT")
    second = await waiting
    assert second is not None
    assert second.number == 2
    await database.close()


async def test_long_searches_do_not_hold_up_a_writer(path: Path) -> None:
    database = Database.at(path)
    await database.open()
    go_on = threading.Event()
    reading = [
        asyncio.create_task(database.read(lambda _: go_on.wait(20) or pytest.fail("nothing was written")))
        for _ in range(10)
    ]
    await asyncio.sleep(0.05)
    assert await Conversations(database).record(a_turn(), begins=True)
    go_on.set()
    assert all(await asyncio.gather(*reading))
    await database.close()


async def test_a_locked_file_is_opened_when_it_is_free(
    path: Path, other: sqlite3.Connection, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("lightspeed.storage.sqlite._BUSY_SECONDS", 0.2)
    other.execute("PRAGMA locking_mode=EXCLUSIVE")
    other.execute("BEGIN EXCLUSIVE")
    database = Database.at(path)
    await database.open()
    assert "locked" in caplog.text
    assert "locked" in str(await database.trouble())
    other.close()
    assert await Conversations(database).record(a_turn(), begins=True)
    assert await database.trouble() is None
    await database.close()


async def test_what_is_no_database_cannot_be_opened(tmp_path: Path) -> None:
    (tmp_path / "text.db").write_text("This is a text and not a database. " * 50)
    (tmp_path / "directory.db").mkdir()
    for path in (tmp_path / "text.db", tmp_path / "directory.db", tmp_path / "text.db" / "inside.db"):
        with pytest.raises(StartupError, match=path.name) as raised:
            await Database.at(path).open()
        assert "\n" not in str(raised.value)


async def test_what_is_in_memory_is_its_own_and_ends_with_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    databases = [Database.in_memory() for _ in range(2)]
    turn = a_turn()
    for database in databases:
        await database.open()
        conversations = Conversations(database)
        await asyncio.gather(*(conversations.record(following(turn), begins=True) for _ in range(20)))
        assert [t.number for t in await conversations.turns(turn.conversation_id)] == list(range(1, 21))
    await databases[0].close()
    assert len(await Conversations(databases[1]).turns(turn.conversation_id)) == 20
    await databases[0].open()
    assert await Conversations(databases[0]).newest(None) == []
    for database in databases:
        await database.close()
    assert names(tmp_path) == []
