import shutil
import sqlite3
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import Connection, text

from lightspeed.errors import StartupError
from lightspeed.storage import migrations, schema, sqlite
from lightspeed.storage.conversations import Conversations
from lightspeed.storage.database import Database
from lightspeed.storage.migrations import Migrations
from tests.storage.turns import a_turn

pytestmark = pytest.mark.anyio

NEXT = """
import sqlalchemy as sa

revision = "next"
down_revision = {head!r}

def upgrade(op):
    with op.batch_alter_table("conversations", recreate="always") as table:
        table.add_column(sa.Column("archived", sa.Boolean))
    {then}
"""


@pytest.fixture
def versions(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the revisions to add to, used by databases that are opened from now on."""
    versions = tmp_path / "versions"
    shutil.copytree(Path(migrations.__file__).parent / "versions", versions)
    monkeypatch.setattr(sqlite, "Migrations", lambda: Migrations(versions))
    return versions


async def test_the_migrations_make_the_tables_of_the_schema(database: Database) -> None:
    def differences(connection: Connection) -> object:
        return compare_metadata(MigrationContext.configure(connection), schema.metadata)

    assert await database.read(differences) == []


async def test_an_upgrade_loses_nothing(database: Database, versions: Path, tmp_path: Path) -> None:
    turn = await Conversations(database).record(a_turn())
    await database.close()
    (versions / "next.py").write_text(NEXT.format(head="0001", then="pass"))

    await database.open()

    assert await Conversations(database).turns(turn.conversation_id) == [turn]
    await database.read(lambda c: c.execute(text("SELECT archived FROM conversations")).one())
    foreign_keys = await database.read(lambda c: c.exec_driver_sql("PRAGMA foreign_keys").scalar())
    assert foreign_keys == 1


async def test_a_failed_upgrade_changes_nothing(database: Database, versions: Path, tmp_path: Path) -> None:
    await Conversations(database).record(a_turn())
    await database.close()
    before = _dump(tmp_path / "lightspeed.db")
    (versions / "next.py").write_text(NEXT.format(head="0001", then="op.execute('nonsense')"))

    with pytest.raises(StartupError, match="nonsense"):
        await database.open()

    assert _dump(tmp_path / "lightspeed.db") == before


async def test_the_database_of_a_newer_version_is_refused(database: Database) -> None:
    await database.write(
        lambda c: c.execute(text("UPDATE alembic_version SET version_num = 'future'")) and None
    )
    await database.close()
    with pytest.raises(StartupError, match="future"):
        await database.open()


def _dump(path: Path) -> list[str]:
    connection = sqlite3.connect(path)
    try:
        return list(connection.iterdump())
    finally:
        connection.close()
