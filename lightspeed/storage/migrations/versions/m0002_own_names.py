"""All tables, under names of our own.

Revision 0001 called its tables `conversations` and `turns`, and marked them in Alembic's usual table of versions. A
database of lightspeed-stack has a table `conversations` too, so that 0001 is not run any more; what it has made is
moved.
"""

import sqlalchemy as sa
from alembic.operations import Operations

revision = "0002"
down_revision = None

_CONVERSATION = (
    "id, user_id, created_at, last_message_at, message_count, last_provider, last_model, topic_summary"
)
_TURN = (
    "conversation_id, number, request_id, user_id, status, provider, model, query, answer, attachments, "
    "tool_calls, tool_results, rag_chunks, referenced_documents, input_tokens, output_tokens, error, "
    "started_at, completed_at"
)


def upgrade(op: Operations) -> None:
    _make_tables(op)
    if _is_first_version(op.get_bind()):
        _move_rows(op)
    # Last, because a full table takes one index faster than an indexed table takes many rows.
    op.create_index(
        "ix_lightspeed_conversations_user_id_last_message_at_id",
        "lightspeed_conversations",
        ["user_id", "last_message_at", "id"],
    )
    op.create_index(
        "ix_lightspeed_conversations_last_message_at_id",
        "lightspeed_conversations",
        ["last_message_at", "id"],
    )
    op.create_index("ix_lightspeed_turns_request_id", "lightspeed_turns", ["request_id"], unique=True)
    op.create_index("ix_lightspeed_turns_user_id", "lightspeed_turns", ["user_id"])


def _is_first_version(connection: sa.Connection) -> bool:
    """Whether the tables are those of revision 0001, and not another program's."""
    inspector = sa.inspect(connection)
    tables = {"alembic_version": "version_num", "conversations": _CONVERSATION, "turns": _TURN}
    for table, columns in tables.items():
        if not inspector.has_table(table):
            return False
        if {column["name"] for column in inspector.get_columns(table)} != set(columns.split(", ")):
            return False
    return connection.exec_driver_sql("SELECT version_num FROM alembic_version").all() == [("0001",)]


def _move_rows(op: Operations) -> None:
    op.execute(
        f"INSERT INTO lightspeed_conversations ({_CONVERSATION}, topic_input_tokens, topic_output_tokens) "  # noqa: S608
        f"SELECT {_CONVERSATION}, 0, 0 FROM conversations"
    )
    # Request ids had not to be unique.
    distinct = (
        "CASE row_number() OVER (PARTITION BY request_id ORDER BY conversation_id, number) WHEN 1 THEN request_id "
        "ELSE request_id || '/' || conversation_id || '/' || number END"
    )
    op.execute(
        f"INSERT INTO lightspeed_turns ({_TURN}) "  # noqa: S608
        f"SELECT {_TURN.replace('request_id', distinct)} FROM turns"
    )
    op.drop_table("turns")
    op.drop_table("conversations")
    # So that the version of the service that knows 0001 refuses the database instead of beginning anew.
    op.execute("UPDATE alembic_version SET version_num = '0002'")


def _make_tables(op: Operations) -> None:
    op.create_table(
        "lightspeed_conversations",
        sa.Column("id", sa.Text, nullable=False),
        sa.Column("user_id", sa.Text, nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("last_message_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("message_count", sa.Integer, nullable=False),
        sa.Column("last_provider", sa.Text, nullable=False),
        sa.Column("last_model", sa.Text, nullable=False),
        sa.Column("topic_summary", sa.Text),
        sa.Column("topic_input_tokens", sa.Integer, nullable=False),
        sa.Column("topic_output_tokens", sa.Integer, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_lightspeed_conversations"),
    )
    op.create_table(
        "lightspeed_turns",
        sa.Column("conversation_id", sa.Text, nullable=False),
        sa.Column("number", sa.Integer, autoincrement=False, nullable=False),
        sa.Column("request_id", sa.Text, nullable=False),
        sa.Column("user_id", sa.Text, nullable=False),
        sa.Column("status", sa.Text, nullable=False),
        sa.Column("provider", sa.Text, nullable=False),
        sa.Column("model", sa.Text, nullable=False),
        sa.Column("query", sa.Text, nullable=False),
        sa.Column("answer", sa.Text, nullable=False),
        sa.Column("attachments", sa.JSON, nullable=False),
        sa.Column("tool_calls", sa.JSON, nullable=False),
        sa.Column("tool_results", sa.JSON, nullable=False),
        sa.Column("rag_chunks", sa.JSON, nullable=False),
        sa.Column("referenced_documents", sa.JSON, nullable=False),
        sa.Column("input_tokens", sa.Integer, nullable=False),
        sa.Column("output_tokens", sa.Integer, nullable=False),
        sa.Column("error", sa.JSON),
        sa.Column("started_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("completed_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("conversation_id", "number", name="pk_lightspeed_turns"),
        sa.ForeignKeyConstraint(
            ["conversation_id"],
            ["lightspeed_conversations.id"],
            name="fk_lightspeed_turns_conversation_id",
            ondelete="CASCADE",
        ),
    )
    op.create_table(
        "lightspeed_interrupts",
        sa.Column("request_id", sa.Text, nullable=False),
        sa.Column("user_id", sa.Text, nullable=False),
        sa.Column("requested_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("outcome", sa.Text),
        sa.PrimaryKeyConstraint("request_id", "user_id", name="pk_lightspeed_interrupts"),
    )
    op.create_table(
        "lightspeed_switches",
        sa.Column("name", sa.Text, nullable=False),
        sa.Column("enabled", sa.Boolean, nullable=False),
        sa.PrimaryKeyConstraint("name", name="pk_lightspeed_switches"),
    )
