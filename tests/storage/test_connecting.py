from pathlib import Path

import pytest

from lightspeed.configuration.storage import PostgreSQLDatabaseConfiguration, SQLiteDatabaseConfiguration
from lightspeed.errors import ConfigurationError
from lightspeed.storage.connecting import database_for
from lightspeed.storage.conversations import Conversations
from tests.postgresql import Postgresql
from tests.storage.turns import a_turn

pytestmark = pytest.mark.anyio


async def test_a_file_is_opened(tmp_path: Path) -> None:
    path = tmp_path / "a%20b?c#d.db"
    database = database_for(SQLiteDatabaseConfiguration(db_path=path))
    await database.open()
    assert await Conversations(database).record(a_turn(), begins=True)
    await database.close()
    assert path.is_file()


async def test_a_server_is_reached_with_any_password(postgresql: Postgresql) -> None:
    name = postgresql.new_database()
    block = postgresql.configuration(name, namespace="ours")
    database = database_for(PostgreSQLDatabaseConfiguration(**block))
    assert postgresql.password not in repr(database)
    await database.open()
    assert await Conversations(database).record(a_turn(), begins=True)
    await database.close()
    assert postgresql.sql(name, "SELECT count(*) FROM ours.lightspeed_turns") == [["1"]]


async def test_without_a_namespace_the_server_decides(postgresql: Postgresql) -> None:
    name = postgresql.new_database()
    postgresql.sql(name, f"CREATE SCHEMA theirs; ALTER DATABASE {name} SET search_path = theirs")
    database = database_for(PostgreSQLDatabaseConfiguration(**postgresql.configuration(name, namespace=None)))
    await database.open()
    await database.close()
    assert postgresql.sql(name, "SELECT count(*) FROM theirs.lightspeed_turns") == [["0"]]


@pytest.mark.parametrize(
    ("keys", "mistake"),
    [
        ({"ssl_mode": "verify-ca"}, "ca_cert_path: is required"),
    ],
)
def test_what_cannot_be_done_is_a_mistake(keys: dict[str, str], mistake: str) -> None:
    configuration = PostgreSQLDatabaseConfiguration(db="d", user="u", password="hunter2", **keys)
    with pytest.raises(ConfigurationError, match=mistake) as raised:
        database_for(configuration)
    assert "hunter2" not in str(raised.value)
