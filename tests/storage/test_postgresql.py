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
from lightspeed.storage.postgresql import PostgresqlConnections, PostgresqlSettings, SslMode
from tests.postgresql import Postgresql, postgresql_server
from tests.storage.certificates import Authority
from tests.storage.proxy import proxy_to
from tests.storage.turns import a_turn, following

pytestmark = pytest.mark.anyio

OPEN, TLS_ONLY, CLEAR_ONLY = "host", "hostssl", "hostnossl"


@pytest.fixture(scope="module")
def authority() -> Authority:
    return Authority.make("An authority")


@pytest.fixture(scope="module")
def certificates(authority: Authority, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the certificates of the authority, of another one, and of none."""
    folder = tmp_path_factory.mktemp("certificates")
    (folder / "right.pem").write_bytes(authority.certificate)
    (folder / "wrong.pem").write_bytes(Authority.make("Another authority").certificate)
    (folder / "none.pem").write_text("no certificate")
    return folder


@pytest.fixture(scope="module")
def own_server(authority: Authority) -> Iterator[Postgresql]:
    """A server with TLS that a test may stop and start."""
    with postgresql_server() as server:
        certificate, key = authority.server("127.0.0.1")
        server.put("server.crt", certificate)
        server.put("server.key", key)
        server.stop()
        server.options = "-c ssl=on"
        server.start()
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


def accept(server: Postgresql, kind: str) -> None:
    """Which connections the server takes: with TLS or without."""
    server.put("pg_hba.conf", f"local all all trust\n{kind} all all 127.0.0.1/32 scram-sha-256\n".encode())


@pytest.fixture
def accepts(own_server: Postgresql, request: pytest.FixtureRequest) -> Iterator[Postgresql]:
    accept(own_server, request.param)
    own_server.reload()
    yield own_server
    accept(own_server, OPEN)
    own_server.reload()


def is_encrypted(connection: Connection) -> bool:
    found = connection.scalar(text("SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()"))
    return bool(found)


async def works(database: Database) -> bool:
    return await Conversations(database).record(a_turn(), begins=True) is not None


# Who may enter


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
        await Database(postgresql.url("postgres").set(password=None)).open()


async def test_a_missing_database_is_a_mistake(postgresql: Postgresql) -> None:
    with pytest.raises(StartupError, match='"missing" does not exist'):
        await Database(postgresql.url("missing")).open()


# A server that comes and goes


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
            assert "refused" in str(await database.trouble())
            found = await asyncio.gather(*(works(database) for _ in range(20)), return_exceptions=True)
            assert {type(each) for each in found} == {StorageError}
            own_server.start()
            assert all(await asyncio.gather(*(works(database) for _ in range(20))))
            assert await database.trouble() is None
            own_server.stop()
    own_server.start()


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
            connection.exec_driver_sql("INSERT INTO once VALUES ('hunter2'), ('hunter2')")

        for work in (wrong_type, twice):
            caplog.clear()
            with caplog.at_level(logging.DEBUG), pytest.raises(StorageError) as raised:
                await database.write(work)
            assert "The database failed" in caplog.text
            assert "hunter2" not in caplog.text + str(raised.value)


# Encryption


@pytest.mark.parametrize(
    ("mode", "authorities", "encrypted"),
    [
        ("disable", None, False),
        ("allow", None, False),
        ("prefer", None, True),
        ("prefer", "wrong.pem", True),
        ("require", None, True),
        ("require", "right.pem", True),
        ("verify-ca", "right.pem", True),
        ("verify-full", "right.pem", True),
    ],
)
async def test_the_connection_is_as_private_as_it_is_asked_to_be(
    own_server: Postgresql, certificates: Path, mode: SslMode, authorities: str | None, encrypted: bool
) -> None:
    file = certificates / authorities if authorities else None
    name = own_server.emptied_database()
    async with opened(own_server, name, ssl_mode=mode, ca_certificates=file) as database:
        assert await database.read(is_encrypted) is encrypted


@pytest.mark.parametrize(
    ("mode", "authorities", "host"),
    [
        ("require", "wrong.pem", "127.0.0.1"),
        ("verify-ca", "wrong.pem", "127.0.0.1"),
        ("verify-full", "wrong.pem", "127.0.0.1"),
        ("verify-full", None, "127.0.0.1"),
        ("verify-full", "right.pem", "localhost"),
    ],
)
async def test_a_server_that_cannot_prove_itself_is_refused(
    own_server: Postgresql, certificates: Path, mode: SslMode, authorities: str | None, host: str
) -> None:
    file = certificates / authorities if authorities else None
    url = own_server.url("postgres").set(drivername="postgresql+asyncpg", host=host)
    settings = PostgresqlSettings(ssl_mode=mode, ca_certificates=file)
    with pytest.raises(StartupError, match="certificate") as raised:
        await Database(url, PostgresqlConnections(url, settings)).open()
    assert "\n" not in str(raised.value)


async def test_only_the_strictest_mode_looks_at_the_name(own_server: Postgresql, certificates: Path) -> None:
    url = own_server.url("postgres").set(drivername="postgresql+asyncpg", host="localhost")
    settings = PostgresqlSettings(ssl_mode="verify-ca", ca_certificates=certificates / "right.pem")
    database = Database(url, PostgresqlConnections(url, settings))
    await database.open()
    assert await database.read(is_encrypted)
    await database.close()


@pytest.mark.parametrize("file", ["none.pem", "missing.pem"])
async def test_certificates_that_cannot_be_read_are_named(
    own_server: Postgresql, certificates: Path, file: str
) -> None:
    with pytest.raises(StartupError, match=file):
        async with opened(own_server, "postgres", ssl_mode="verify-ca", ca_certificates=certificates / file):
            pass


@pytest.mark.parametrize("mode", ["require", "verify-full"])
async def test_a_server_without_encryption_is_refused(postgresql: Postgresql, mode: SslMode) -> None:
    with pytest.raises(StartupError, match="rejected SSL"):
        async with opened(postgresql, "postgres", ssl_mode=mode):
            pass


@pytest.mark.parametrize("mode", ["disable", "allow", "prefer"])
async def test_others_do_without_encryption(postgresql: Postgresql, mode: SslMode) -> None:
    async with opened(postgresql, postgresql.emptied_database(), ssl_mode=mode) as database:
        assert not await database.read(is_encrypted)


@pytest.mark.parametrize(
    ("accepts", "mode", "encrypted"),
    [(TLS_ONLY, "allow", True), (CLEAR_ONLY, "prefer", False), (TLS_ONLY, "prefer", True)],
    indirect=["accepts"],
)
async def test_the_other_kind_is_tried_where_the_server_wants_it(
    accepts: Postgresql, mode: SslMode, encrypted: bool
) -> None:
    async with opened(accepts, accepts.emptied_database(), ssl_mode=mode) as database:
        assert await database.read(is_encrypted) is encrypted


@pytest.mark.parametrize(
    ("accepts", "mode"), [(TLS_ONLY, "disable"), (CLEAR_ONLY, "require")], indirect=["accepts"]
)
async def test_the_other_kind_is_not_tried_where_it_is_not_wanted(accepts: Postgresql, mode: SslMode) -> None:
    with pytest.raises(StartupError, match="pg_hba"):
        async with opened(accepts, "postgres", ssl_mode=mode):
            pass


async def test_files_of_the_home_directory_have_no_say(
    own_server: Postgresql, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / ".postgresql").mkdir()
    for name in ("root.crt", "root.crl", "postgresql.crt", "postgresql.key"):
        (tmp_path / ".postgresql" / name).write_text("broken")
    monkeypatch.setenv("HOME", str(tmp_path))
    for mode in ("prefer", "require"):
        async with opened(own_server, own_server.emptied_database(), ssl_mode=mode) as database:
            assert await database.read(is_encrypted)


# Namespaces


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
