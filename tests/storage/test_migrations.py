import asyncio
import json
import shutil
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import URL, Connection, text

from lightspeed.errors import StartupError
from lightspeed.storage import migrations, postgresql, schema, sqlite
from lightspeed.storage.conversations import Conversations
from lightspeed.storage.database import Database
from lightspeed.storage.migrations import VERSION_TABLE, Migrations
from tests.storage.turns import a_turn

pytestmark = pytest.mark.anyio

NEXT = """
import sqlalchemy as sa

revision = "next"
down_revision = "0002"

def upgrade(op):
    with op.batch_alter_table("lightspeed_conversations", recreate={recreate!r}) as table:
        table.add_column(sa.Column("archived", sa.Boolean))
    {then}
"""

# As revision 0001 made them.
FIRST = """
CREATE TABLE alembic_version (version_num VARCHAR(32) NOT NULL, CONSTRAINT alembic_version_pkc PRIMARY KEY (version_num));
INSERT INTO alembic_version VALUES ('0001');
CREATE TABLE conversations (
  id TEXT NOT NULL, user_id TEXT NOT NULL, created_at {moment} NOT NULL, last_message_at {moment} NOT NULL,
  message_count INTEGER NOT NULL, last_provider TEXT NOT NULL, last_model TEXT NOT NULL, topic_summary TEXT,
  CONSTRAINT pk_conversations PRIMARY KEY (id));
CREATE INDEX ix_conversations_user_id_last_message_at_id ON conversations (user_id, last_message_at, id);
CREATE TABLE turns (
  conversation_id TEXT NOT NULL, number INTEGER NOT NULL, request_id TEXT NOT NULL, user_id TEXT NOT NULL,
  status TEXT NOT NULL, provider TEXT NOT NULL, model TEXT NOT NULL, query TEXT NOT NULL, answer TEXT NOT NULL,
  attachments JSON NOT NULL, tool_calls JSON NOT NULL, tool_results JSON NOT NULL, rag_chunks JSON NOT NULL,
  referenced_documents JSON NOT NULL, input_tokens INTEGER NOT NULL, output_tokens INTEGER NOT NULL, error JSON,
  started_at {moment} NOT NULL, completed_at {moment} NOT NULL,
  CONSTRAINT pk_turns PRIMARY KEY (conversation_id, number),
  CONSTRAINT fk_turns_conversation_id FOREIGN KEY(conversation_id) REFERENCES conversations (id) ON DELETE CASCADE)
"""
# As lightspeed-stack has one, with other columns.
FOREIGN = "CREATE TABLE conversations (user_id TEXT, conversation_id TEXT, topic_summary TEXT)"


@pytest.fixture
def versions(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the revisions to add to, used by databases that are opened from now on."""
    versions = tmp_path / "versions"
    shutil.copytree(Path(migrations.__file__).parent / "versions", versions)
    for module in (sqlite, postgresql):
        monkeypatch.setattr(module, "Migrations", lambda: Migrations(versions))
    return versions


@pytest.fixture
async def bare(place: URL, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Database]:
    """A database as another program sees it: nothing of ours is made in it."""
    with monkeypatch.context() as patch:
        for module in (sqlite, postgresql):
            patch.setattr(module, "Migrations", NoMigrations)
        database = Database(place)
        await database.open()
    yield database
    await database.close()


class NoMigrations:
    def upgrade(self, connection: Connection) -> None:
        pass


async def run(database: Database, script: str, rows: list[dict[str, Any]] | None = None) -> None:
    def work(connection: Connection) -> None:
        for statement in script.split(";"):
            if statement.strip():
                connection.execute(text(statement), rows) if rows else connection.execute(text(statement))

    await database.write(work)


async def rows(database: Database, query: str) -> list[tuple[Any, ...]]:
    return await database.read(lambda connection: [tuple(row) for row in connection.execute(text(query))])


async def test_the_migrations_make_the_tables_of_the_schema(database: Database) -> None:
    def differences(connection: Connection) -> object:
        context = MigrationContext.configure(connection, opts={"version_table": VERSION_TABLE})
        return compare_metadata(context, schema.metadata)

    assert await database.read(differences) == []


async def test_what_the_first_revision_has_made_is_moved_without_loss(bare: Database, place: URL) -> None:
    moment = "DATETIME" if bare.dialect == "sqlite" else "TIMESTAMP WITH TIME ZONE"
    await run(bare, FIRST.format(moment=moment))
    conversation = {
        "id": "a" * 48,
        "user_id": "alice",
        "message_count": 2,
        "last_provider": "acme",
        "last_model": "m1",
        "topic_summary": "Nodes, \u00fcber alles",
    }
    await run(
        bare,
        "INSERT INTO conversations VALUES (:id, :user_id, '2030-01-02 03:04:05.000001+00:00', "
        "'2030-01-02 03:05:00+00:00', :message_count, :last_provider, :last_model, :topic_summary)".replace(
            "+00:00", "" if bare.dialect == "sqlite" else "+00:00"
        ),
        [conversation],
    )
    first = a_turn(conversation_id="a" * 48, request_id="r1", answer="Two nodes \u2014 \U0001f600")
    # Revision 0001 let a request id occur twice.
    turns = [
        (1, first),
        (2, a_turn(conversation_id="a" * 48, request_id="r1", status="failed", error={"x": 1})),
    ]
    for number, turn in turns:
        values: dict[str, Any] = {name: getattr(turn, name) for name in COLUMNS}
        values |= {name: json.dumps(values[name]) for name in JSON_COLUMNS}
        values |= {"error": None if turn.error is None else json.dumps(turn.error), "number": number}
        if bare.dialect == "sqlite":
            values |= {name: values[name].replace(tzinfo=None).isoformat(" ") for name in MOMENTS}
        names = ", ".join(values)
        await run(
            bare, f"INSERT INTO turns ({names}) VALUES ({', '.join(':' + name for name in values)})", [values]
        )
    await bare.close()

    database = Database(place)
    await database.open()
    conversations = Conversations(database)
    [found] = await conversations.newest("alice")
    assert {name: getattr(found, name) for name in conversation} == conversation
    assert found.created_at.isoformat() == "2030-01-02T03:04:05.000001+00:00"
    stored = await conversations.turns("a" * 48)
    assert [turn.number for turn in stored] == [1, 2]
    for turn, (_, written) in zip(stored, turns, strict=True):
        for name in {*COLUMNS, "error"} - {"request_id"}:
            assert getattr(turn, name) == getattr(written, name), name
    assert stored[0].request_id == "r1"
    continued = await conversations.record(a_turn(conversation_id="a" * 48), begins=False)
    assert continued is not None
    assert continued.number == 3
    await database.close()


COLUMNS = (
    "conversation_id", "request_id", "user_id", "status", "provider", "model", "query", "answer", "attachments",
    "tool_calls", "tool_results", "rag_chunks", "referenced_documents", "input_tokens", "output_tokens",
    "started_at", "completed_at",
)  # fmt: skip
JSON_COLUMNS = ("attachments", "tool_calls", "tool_results", "rag_chunks", "referenced_documents")
MOMENTS = ("started_at", "completed_at")


async def test_tables_of_another_program_are_left_alone(bare: Database, place: URL) -> None:
    await run(bare, FOREIGN + "; INSERT INTO conversations VALUES ('u', 'c', 't')")
    await run(
        bare, "CREATE TABLE alembic_version (version_num TEXT); INSERT INTO alembic_version VALUES ('theirs')"
    )
    await bare.close()
    for _ in range(2):
        database = Database(place)
        await database.open()
        await Conversations(database).record(a_turn(), begins=True)
        assert await rows(database, "SELECT * FROM conversations") == [("u", "c", "t")]
        assert await rows(database, "SELECT * FROM alembic_version") == [("theirs",)]
        await database.close()


async def test_an_upgrade_loses_nothing(database: Database, versions: Path) -> None:
    turn = await Conversations(database).record(a_turn(), begins=True)
    assert turn is not None
    await database.close()
    recreate = "always" if database.dialect == "sqlite" else "auto"
    (versions / "next.py").write_text(NEXT.format(recreate=recreate, then="pass"))

    await database.open()

    assert await Conversations(database).turns(turn.conversation_id) == [turn]
    assert await rows(database, "SELECT archived FROM lightspeed_conversations") == [(None,)]
    if database.dialect == "sqlite":
        assert await rows(database, "PRAGMA foreign_keys") == [(1,)]


async def test_a_failed_upgrade_changes_nothing(database: Database, versions: Path) -> None:
    turn = await Conversations(database).record(a_turn(), begins=True)
    assert turn is not None
    await database.close()
    recreate = "always" if database.dialect == "sqlite" else "auto"
    (versions / "next.py").write_text(NEXT.format(recreate=recreate, then="op.execute('nonsense')"))

    with pytest.raises(StartupError, match="nonsense"):
        await database.open()

    (versions / "next.py").unlink()
    await database.open()
    assert await Conversations(database).turns(turn.conversation_id) == [turn]


async def test_many_that_start_together_migrate_once(place: URL) -> None:
    databases = [Database(place) for _ in range(4)]
    await asyncio.gather(*(database.open() for database in databases))
    for database in databases:
        assert await rows(database, f"SELECT version_num FROM {VERSION_TABLE}") == [("0002",)]
        await database.close()


async def test_the_database_of_a_newer_version_is_refused(database: Database) -> None:
    await run(database, f"UPDATE {VERSION_TABLE} SET version_num = 'future'")
    await database.close()
    with pytest.raises(StartupError, match="future"):
        await database.open()
