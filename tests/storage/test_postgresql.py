import asyncio
import logging
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Connection, text

from lightspeed.errors import StartupError, StorageError
from lightspeed.storage.conversations import Conversations
from lightspeed.storage.database import Database
from lightspeed.storage.postgresql import PostgresqlConnections, PostgresqlSettings
from tests.postgresql import Postgresql, postgresql_server
from tests.storage.proxy import proxy_to
from tests.storage.turns import a_turn, following

pytestmark = pytest.mark.anyio


@pytest.fixture
def own_server() -> Iterator[Postgresql]:
    """A server that a test may stop and start."""
    with postgresql_server() as server:
        yield server


@asynccontextmanager
async def opened(
    server: Postgresql, name: str, *, port: int | None = None, user: str | None = None, **settings: Any
) -> AsyncIterator[Database]:
    url = server.url(name).set(drivername="postgresql+asyncpg", port=port or server.port)
    if user:
        url = url.set(username=user)
    database = Database(url, PostgresqlConnections(url, PostgresqlSettings(**settings)))
    await database.open()
    try:
        yield database
    finally:
        await database.close()


async def works(database: Database) -> bool:
    return await Conversations(database).record(a_turn(), begins=True) is not None


async def test_a_wrong_password_is_told_in_one_line_without_it(postgresql: Postgresql) -> None:
    database = Database(postgresql.url("postgres").set(password="hunter2"))
    with pytest.raises(StartupError, match="password authentication failed") as raised:
        await database.open()
    assert "hunter2" not in str(raised.value)
    assert "\n" not in str(raised.value)


async def test_a_missing_password_is_not_looked_for_elsewhere(
    postgresql: Postgresql, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    passwords = tmp_path / ".pgpass"
    passwords.write_text(f"*:*:*:*:{postgresql.password}\n")
    passwords.chmod(0o600)
    monkeypatch.setenv("HOME", str(tmp_path))
    with pytest.raises(StartupError, match="password"):
        await Database(f"postgresql://{postgresql.user}@127.0.0.1:{postgresql.port}/postgres").open()


async def test_a_missing_database_is_a_mistake(postgresql: Postgresql) -> None:
    with pytest.raises(StartupError, match='"missing" does not exist'):
        await Database(postgresql.url("missing")).open()


@pytest.mark.parametrize("anyio_backend", [("asyncio", {"use_uvloop": loop}) for loop in (False, True)])
async def test_a_server_that_is_away_is_waited_for(
    own_server: Postgresql, caplog: pytest.LogCaptureFixture
) -> None:
    name = own_server.new_database()
    own_server.stop()
    async with opened(own_server, name) as database:
        assert own_server.password not in caplog.text
        assert "tried again" in caplog.text
        for _ in range(2):
            assert name in str(await database.trouble())
            found = await asyncio.gather(*(works(database) for _ in range(20)), return_exceptions=True)
            assert {type(each) for each in found} == {StorageError}
            own_server.start()
            assert all(await asyncio.gather(*(works(database) for _ in range(20))))
            assert await database.trouble() is None
            own_server.stop()


async def test_a_server_without_room_is_waited_for(postgresql: Postgresql) -> None:
    postgresql.sql("postgres", f"CREATE ROLE crowded LOGIN CONNECTION LIMIT 0 PASSWORD {quoted(postgresql)}")
    name = postgresql.new_database("OWNER crowded")
    async with opened(postgresql, name, user="crowded") as database:
        assert "too many connections" in str(await database.trouble())
        postgresql.sql("postgres", "ALTER ROLE crowded CONNECTION LIMIT 50")
        assert await works(database)


def quoted(server: Postgresql) -> str:
    return "'{}'".format(server.password.replace("'", "''"))


async def test_broken_connections_are_replaced(postgresql: Postgresql) -> None:
    async with (
        proxy_to(postgresql.port) as proxy,
        opened(postgresql, postgresql.emptied_database(), port=proxy.port) as database,
    ):
        assert all(await asyncio.gather(*(works(database) for _ in range(20))))
        proxy.break_connections()
        assert all(await asyncio.gather(*(works(database) for _ in range(20))))


async def test_a_silent_network_fails_transactions_and_then_no_more(postgresql: Postgresql) -> None:
    async with (
        proxy_to(postgresql.port) as proxy,
        opened(postgresql, postgresql.emptied_database(), port=proxy.port, answers_within=0.3) as database,
    ):
        turn = a_turn()
        conversations = Conversations(database)
        await conversations.record(turn, begins=True)
        proxy.fall_silent()
        lost = following(turn)
        with pytest.raises(StorageError):
            await conversations.record(lost, begins=False)
        assert "does not answer" in str(await database.trouble())
        proxy.recover()
        # Whatever has become of it, it is there once.
        await conversations.record(lost, begins=False)
        assert [t.number for t in await conversations.turns(turn.conversation_id)] == [1, 2]
        proxy.fall_silent()


async def test_a_lock_that_another_holds_is_not_waited_for_without_end(postgresql: Postgresql) -> None:
    name = postgresql.emptied_database()
    async with opened(postgresql, name, answers_within=0.3) as database, opened(postgresql, name) as other:
        turn = a_turn()
        await Conversations(database).record(turn, begins=True)
        locked, done = asyncio.Event(), asyncio.Event()
        loop = asyncio.get_running_loop()

        def hold(connection: Connection) -> None:
            connection.exec_driver_sql("LOCK lightspeed_conversations")
            loop.call_soon(locked.set)
            for _ in range(1000):
                connection.exec_driver_sql("SELECT pg_sleep(0.05)")
                if done.is_set():
                    break

        holder = asyncio.create_task(other.write(hold))
        await locked.wait()
        with pytest.raises(StorageError):
            await Conversations(database).record(following(turn), begins=False)
        done.set()
        await holder
        assert await works(database)


async def test_more_than_the_pool_has_at_once(postgresql: Postgresql) -> None:
    async with opened(postgresql, postgresql.emptied_database()) as database:

        def sleep(connection: Connection) -> None:
            connection.exec_driver_sql("SELECT pg_sleep(0.05)")

        await asyncio.gather(*(database.read(sleep) for _ in range(40)))
        busy = connections_of(postgresql, "lightspeed")
        assert 1 < busy <= 10


def connections_of(server: Postgresql, name: str) -> int:
    [[count]] = server.sql(
        "postgres", f"SELECT count(*) FROM pg_stat_activity WHERE application_name = '{name}'"
    )
    return int(count)


async def test_a_closed_database_stays_closed(postgresql: Postgresql) -> None:
    async with opened(postgresql, postgresql.emptied_database()) as database:
        assert await works(database)
    with pytest.raises(StorageError):
        await works(database)
    assert connections_of(postgresql, "lightspeed") == 0


async def test_what_users_say_stays_out_of_the_log(
    postgresql: Postgresql, caplog: pytest.LogCaptureFixture
) -> None:
    async with opened(postgresql, postgresql.emptied_database()) as database:

        def wrong_type(connection: Connection) -> None:
            connection.exec_driver_sql("SELECT CAST($1 AS bigint)", ("hunter2",))

        def twice(connection: Connection) -> None:
            connection.exec_driver_sql("CREATE TEMPORARY TABLE once (a text UNIQUE)")
            for _ in range(2):
                connection.execute(text("INSERT INTO once VALUES (:said)"), {"said": "hunter2"})

        for work in (wrong_type, twice):
            caplog.clear()
            with caplog.at_level(logging.DEBUG), pytest.raises(StorageError) as raised:
                await database.write(work)
            assert "The database failed" in caplog.text
            assert "hunter2" not in caplog.text + str(raised.value)


@pytest.mark.parametrize("namespace", ["ours", "Odd \"name'; DROP", "a,b", "Übung", "public", "x" * 80])
async def test_a_namespace_is_made_and_found_again(postgresql: Postgresql, namespace: str) -> None:
    name = postgresql.emptied_database()
    turn = a_turn()
    for begins in (True, False):
        async with opened(postgresql, name, namespace=namespace) as database:
            await Conversations(database).record(following(turn), begins=begins)
    found = postgresql.sql(
        name, "SELECT schemaname, tablename FROM pg_tables WHERE tablename LIKE 'lightspeed%'"
    )
    assert {schema for schema, _ in found} == {namespace[:63]}
    assert ["lightspeed_turns"] in [[table] for _, table in found]


async def test_a_namespace_needs_no_right_to_make_one(postgresql: Postgresql) -> None:
    name = postgresql.new_database()
    postgresql.sql(
        name,
        f"CREATE ROLE tenant LOGIN PASSWORD {quoted(postgresql)}; "
        f"REVOKE CREATE ON DATABASE {name} FROM PUBLIC; CREATE SCHEMA theirs AUTHORIZATION tenant",
    )
    async with opened(postgresql, name, user="tenant", namespace="theirs") as database:
        assert await works(database)
    with pytest.raises(StartupError, match="permission denied"):
        async with opened(postgresql, name, user="tenant", namespace="another"):
            pass


async def test_two_namespaces_know_nothing_of_each_other(postgresql: Postgresql) -> None:
    name = postgresql.new_database()
    async with (
        opened(postgresql, name, namespace="a") as first,
        opened(postgresql, name, namespace="b") as second,
    ):
        assert await works(first)
        assert await Conversations(second).newest(None) == []


async def test_a_name_that_postgresql_keeps_for_itself_is_refused(postgresql: Postgresql) -> None:
    with pytest.raises(StartupError, match="pg_ours"):
        async with opened(postgresql, "postgres", namespace="pg_ours"):
            pass
