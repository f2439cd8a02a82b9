"""Databases as the first version of the service has left them, and as other programs do, in plain SQL."""

import sqlite3
from collections.abc import Callable
from contextlib import closing
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import URL

from lightspeed.storage.records import Conversation, StoredTurn
from tests.postgresql import Postgresql

type Sql = Callable[[str], list[list[str]]]

NODES, OTHERS = "a" * 48, "123e4567-e89b-42d3-a456-426614174000"

_TABLES = """
CREATE TABLE alembic_version (version_num VARCHAR(32) NOT NULL, CONSTRAINT alembic_version_pkc PRIMARY KEY (version_num));
INSERT INTO alembic_version VALUES ('0001');
CREATE TABLE conversations (
    id TEXT NOT NULL, user_id TEXT NOT NULL, created_at {time} NOT NULL, last_message_at {time} NOT NULL,
    message_count INTEGER NOT NULL, last_provider TEXT NOT NULL, last_model TEXT NOT NULL, topic_summary TEXT,
    CONSTRAINT pk_conversations PRIMARY KEY (id)
);
CREATE INDEX ix_conversations_user_id_last_message_at_id ON conversations (user_id, last_message_at, id);
CREATE TABLE turns (
    conversation_id TEXT NOT NULL, number INTEGER NOT NULL, request_id TEXT NOT NULL, user_id TEXT NOT NULL,
    status TEXT NOT NULL, provider TEXT NOT NULL, model TEXT NOT NULL, query TEXT NOT NULL, answer TEXT NOT NULL,
    attachments JSON NOT NULL, tool_calls JSON NOT NULL, tool_results JSON NOT NULL, rag_chunks JSON NOT NULL,
    referenced_documents JSON NOT NULL, input_tokens INTEGER NOT NULL, output_tokens INTEGER NOT NULL, error JSON,
    started_at {time} NOT NULL, completed_at {time} NOT NULL,
    CONSTRAINT pk_turns PRIMARY KEY (conversation_id, number),
    CONSTRAINT fk_turns_conversation_id FOREIGN KEY(conversation_id) REFERENCES conversations (id) ON DELETE CASCADE
)"""

_ROWS = f"""
INSERT INTO conversations VALUES
    ('{NODES}', 'alice', '2030-01-02 03:04:05.000000{{utc}}', '2030-01-02 03:06:09.123456{{utc}}', 2, 'acme', 'm1', 'Nodes'),
    ('{OTHERS}', 'bob', '2030-01-01 00:00:00.000000{{utc}}', '2030-01-01 00:00:01.000001{{utc}}', 1, 'p2', 'm2', NULL);
INSERT INTO turns VALUES
    ('{NODES}', 1, 'r1', 'alice', 'completed', 'acme', 'm1', 'List ''nodes'' é \U0001f600', 'Two nodes', '[{{{{"content": "line"}}}}]',
     '[{{{{"id": "c1"}}}}]', '[{{{{"id": "c1", "content": "\\u0000 n1"}}}}]', '[{{{{"score": 0.5}}}}]', '[{{{{"doc_url": null}}}}]', 40, 3, NULL,
     '2030-01-02 03:04:05.000000{{utc}}', '2030-01-02 03:04:09.123456{{utc}}'),
    ('{NODES}', 2, 'r2', 'alice', 'failed', 'acme', 'm1', 'And now?', '', '[]', '[]', '[]', '[]', '[]', 0, 0,
     '{{{{"status_code": 503, "response": "down", "cause": "refused"}}}}',
     '2030-01-02 03:05:00.000000{{utc}}', '2030-01-02 03:06:09.123456{{utc}}'),
    ('{OTHERS}', 1, '{{third}}', 'bob', 'interrupted', 'p2', 'm2', 'x', 'y', '[]', '[]', '[]', '[]', '[]', 1, 2, NULL,
     '2030-01-01 00:00:00.000000{{utc}}', '2030-01-01 00:00:01.000001{{utc}}')"""

_FOREIGN = """
CREATE TABLE conversations (
    user_id TEXT NOT NULL, conversation_id TEXT NOT NULL, topic_summary TEXT, last_message_timestamp REAL NOT NULL,
    PRIMARY KEY (user_id, conversation_id)
);
CREATE INDEX timestamps ON conversations (last_message_timestamp);
CREATE TABLE turns (number INTEGER PRIMARY KEY, said TEXT);
CREATE VIEW topics AS SELECT topic_summary FROM conversations;
CREATE TABLE alembic_version (version_num VARCHAR(32) NOT NULL);
INSERT INTO alembic_version VALUES ('0001');
INSERT INTO conversations VALUES ('alice', 'c1', 'Theirs', 1.5);
INSERT INTO turns VALUES (7, 'theirs')"""


def sql_in(place: URL, server: Callable[[], Postgresql]) -> Sql:
    """Runs statements of either kind of database; values are texts."""

    def in_sqlite(statements: str) -> list[list[str]]:
        with closing(sqlite3.connect(place.database or "")) as connection:
            *others, last = statements.split(";\n")
            for statement in others:
                connection.execute(statement)
            rows = connection.execute(last).fetchall()
            connection.commit()
        return [["" if value is None else str(value) for value in row] for row in rows]

    if place.get_backend_name() == "sqlite":
        return in_sqlite
    return lambda statements: server().sql(place.database or "", statements)


def make_first_version(place: URL, sql: Sql, *, third: str = "r3") -> None:
    """Two conversations with three turns; `third` is the request id of the last one."""
    is_sqlite = place.get_backend_name() == "sqlite"
    sql(_TABLES.format(time="DATETIME" if is_sqlite else "TIMESTAMP WITH TIME ZONE"))
    sql(_ROWS.format(utc="" if is_sqlite else "+00", third=third))


def make_foreign_tables(sql: Sql) -> None:
    """Those of lightspeed-stack, and of a program that uses Alembic too."""
    sql(_FOREIGN)


def first_conversations() -> list[Conversation]:
    """What `make_first_version` makes, newest first."""
    tokens = {"topic_input_tokens": 0, "topic_output_tokens": 0}
    nodes = Conversation(
        id=NODES,
        user_id="alice",
        created_at=datetime(2030, 1, 2, 3, 4, 5, tzinfo=UTC),
        last_message_at=datetime(2030, 1, 2, 3, 6, 9, 123456, tzinfo=UTC),
        message_count=2,
        last_provider="acme",
        last_model="m1",
        topic_summary="Nodes",
        **tokens,
    )
    others = Conversation(
        id=OTHERS,
        user_id="bob",
        created_at=datetime(2030, 1, 1, tzinfo=UTC),
        last_message_at=datetime(2030, 1, 1, 0, 0, 1, 1, tzinfo=UTC),
        message_count=1,
        last_provider="p2",
        last_model="m2",
        topic_summary=None,
        **tokens,
    )
    return [nodes, others]


def first_turns(third: str = "r3") -> list[StoredTurn]:
    empty: dict[str, Any] = {
        name: []
        for name in ("attachments", "tool_calls", "tool_results", "rag_chunks", "referenced_documents")
    }
    first = StoredTurn(
        conversation_id=NODES,
        number=1,
        request_id="r1",
        user_id="alice",
        status="completed",
        provider="acme",
        model="m1",
        query="List 'nodes' é \U0001f600",
        answer="Two nodes",
        attachments=[{"content": "line"}],
        tool_calls=[{"id": "c1"}],
        tool_results=[{"id": "c1", "content": "\x00 n1"}],
        rag_chunks=[{"score": 0.5}],
        referenced_documents=[{"doc_url": None}],
        input_tokens=40,
        output_tokens=3,
        error=None,
        started_at=datetime(2030, 1, 2, 3, 4, 5, tzinfo=UTC),
        completed_at=datetime(2030, 1, 2, 3, 4, 9, 123456, tzinfo=UTC),
    )
    second = StoredTurn(
        conversation_id=NODES,
        number=2,
        request_id="r2",
        user_id="alice",
        status="failed",
        provider="acme",
        model="m1",
        query="And now?",
        answer="",
        **empty,
        input_tokens=0,
        output_tokens=0,
        error={"status_code": 503, "response": "down", "cause": "refused"},
        started_at=datetime(2030, 1, 2, 3, 5, tzinfo=UTC),
        completed_at=datetime(2030, 1, 2, 3, 6, 9, 123456, tzinfo=UTC),
    )
    last = StoredTurn(
        conversation_id=OTHERS,
        number=1,
        request_id=third,
        user_id="bob",
        status="interrupted",
        provider="p2",
        model="m2",
        query="x",
        answer="y",
        **empty,
        input_tokens=1,
        output_tokens=2,
        error=None,
        started_at=datetime(2030, 1, 1, tzinfo=UTC),
        completed_at=datetime(2030, 1, 1, 0, 0, 1, 1, tzinfo=UTC),
    )
    return [first, second, last]
