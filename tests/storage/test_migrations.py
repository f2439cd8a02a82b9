import asyncio
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import URL, Connection, text

from lightspeed.errors import StartupError
from lightspeed.storage import migrations, postgresql, schema, sqlite
from lightspeed.storage.conversations import Conversations
from lightspeed.storage.database import Database
from lightspeed.storage.migrations import VERSION_TABLE, Migrations
from tests.storage.first_version import (
    NODES,
    OTHERS,
    Sql,
    first_conversations,
    first_turns,
    make_first_version,
    make_foreign_tables,
    sql_in,
)
from tests.storage.turns import a_turn, following

pytestmark = pytest.mark.anyio

NEXT = """
import sqlalchemy as sa

revision = "next"
down_revision = {head!r}

def upgrade(op):
    with op.batch_alter_table("lightspeed_conversations", recreate={recreate!r}) as table:
        table.add_column(sa.Column("archived", sa.Boolean))
    {then}
"""


@pytest.fixture
def sql(place: URL, request: pytest.FixtureRequest) -> Sql:
    """Runs statements in the database behind the service's back."""
    return sql_in(place, lambda: request.getfixturevalue("postgresql"))


@pytest.fixture
def add_next(tmp_path: Path, place: URL, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Adds a revision, for databases that are opened from now on."""
    versions = tmp_path / "versions"
    shutil.copytree(Path(migrations.__file__).parent / "versions", versions)
    head = ScriptDirectory(versions, version_locations=[versions]).get_current_head()
    # Only SQLite makes a table anew to change it.
    recreate = "always" if place.get_backend_name() == "sqlite" else "never"

    def add(then: str) -> None:
        (versions / "next.py").write_text(NEXT.format(head=head, recreate=recreate, then=then))
        for module in (sqlite, postgresql):
            monkeypatch.setattr(module, "Migrations", lambda: Migrations(versions))

    return add


def dumped(place: URL, sql: Sql) -> list[Any]:
    """All tables with their columns, indexes and rows."""
    if place.get_backend_name() == "sqlite":
        schemas = sql("SELECT type, name, sql FROM sqlite_master ORDER BY name")
        tables = [name for kind, name, _ in schemas if kind == "table"]
    else:
        schemas = sql(
            "SELECT table_name, column_name, data_type, column_default, is_nullable FROM information_schema.columns "
            "WHERE table_schema = 'public' ORDER BY 1, ordinal_position"
        )
        schemas += sql("SELECT indexdef FROM pg_indexes WHERE schemaname = 'public' ORDER BY 1")
        found = sql("SELECT tablename FROM pg_tables WHERE schemaname = 'public' ORDER BY 1")
        tables = [name for (name,) in found]
    return [schemas, *(sorted(sql(f"SELECT * FROM {table}")) for table in tables)]


async def test_the_migrations_make_the_tables_of_the_schema(database: Database) -> None:
    def differences(connection: Connection) -> object:
        context = MigrationContext.configure(connection, opts={"version_table": VERSION_TABLE})
        return compare_metadata(context, schema.metadata)

    assert await database.read(differences) == []


async def test_the_first_version_is_upgraded_with_all_its_values(place: URL, sql: Sql) -> None:
    make_first_version(place, sql)
    database = Database(place)
    for _ in range(2):
        await database.open()
        conversations = Conversations(database)
        assert await conversations.newest(None) == first_conversations()
        found = [*await conversations.turns(NODES), *await conversations.turns(OTHERS)]
        assert found == first_turns()
        await database.close()
    assert sql("SELECT version_num FROM alembic_version") == [["0002"]]  # which the first version refuses
    await database.open()
    turn = await Conversations(database).record(a_turn(conversation_id=NODES), begins=False)
    assert turn is not None
    assert turn.number == 3
    await database.close()


async def test_turns_of_the_first_version_may_share_a_request_id(place: URL, sql: Sql) -> None:
    make_first_version(place, sql, third="r1")
    database = Database(place)
    await database.open()
    conversations = Conversations(database)
    found = [*await conversations.turns(NODES), *await conversations.turns(OTHERS)]
    ids = [turn.request_id for turn in found]
    assert len(set(ids)) == 3
    assert all(request_id.startswith("r") for request_id in ids)
    await database.close()


async def test_tables_of_other_programs_stay_as_they_are(place: URL, sql: Sql) -> None:
    make_foreign_tables(sql)
    before = dumped(place, sql)
    database = Database(place)
    for _ in range(2):
        await database.open()
        turn = a_turn()
        await Conversations(database).record(turn, begins=True)
        await Conversations(database).record(following(turn), begins=False)
        await database.close()
    after = dumped(place, sql)
    for number, table in enumerate(before[1:], 1):
        assert table in after[1:], number
    assert [entry for entry in before[0] if entry not in after[0]] == []
    assert sql("SELECT * FROM topics") == [["Theirs"]]


async def test_many_upgrade_at_once(place: URL, sql: Sql) -> None:
    make_first_version(place, sql)
    databases = [Database(place) for _ in range(4)]
    await asyncio.gather(*(database.open() for database in databases))
    for database in databases:
        assert await Conversations(database).newest(None) == first_conversations()
        await database.close()


async def test_an_upgrade_loses_nothing(database: Database, add_next: Callable[[str], None]) -> None:
    turn = await Conversations(database).record(a_turn(), begins=True)
    assert turn is not None
    await database.close()
    add_next("pass")

    await database.open()

    conversations = Conversations(database)
    assert await conversations.turns(turn.conversation_id) == [turn]
    await database.read(lambda c: c.execute(text("SELECT archived FROM lightspeed_conversations")).one())
    # What hangs on a conversation still goes with it.
    await conversations.delete([turn.conversation_id])
    assert await conversations.turns(turn.conversation_id) == []


async def test_a_failed_upgrade_changes_nothing(
    place: URL, sql: Sql, add_next: Callable[[str], None]
) -> None:
    make_first_version(place, sql)
    before = dumped(place, sql)
    add_next("op.execute('nonsense')")
    with pytest.raises(StartupError, match="nonsense"):
        await Database(place).open()
    assert dumped(place, sql) == before


async def test_the_database_of_a_newer_version_is_refused(database: Database) -> None:
    await database.write(
        lambda c: c.execute(text(f"UPDATE {VERSION_TABLE} SET version_num = 'future'")) and None
    )
    await database.close()
    with pytest.raises(StartupError, match="future"):
        await database.open()
