"""The tables. A change here needs a new revision in `migrations/versions`; a test compares the two."""

from datetime import UTC, datetime

from sqlalchemy import (
    JSON,
    BigInteger,
    Boolean,
    Column,
    DateTime,
    Dialect,
    ForeignKey,
    Index,
    Integer,
    MetaData,
    Table,
    Text,
    TypeDecorator,
)

from lightspeed.storage.encoding import storable_text


class UtcDateTime(TypeDecorator[datetime]):
    """A moment: kept in UTC, read back with its zone. Naive times are refused."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        if value is None:
            return None
        if value.tzinfo is None:
            raise ValueError("a time without a zone cannot be stored")
        return value.astimezone(UTC)

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        if value is None:
            return None
        # SQLite has no zones: what it returns is the UTC that was written.
        return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)


class FreeText(TypeDecorator[str]):
    """Text from users and models, which may hold characters that a database refuses."""

    impl = Text
    cache_ok = True

    def process_bind_param(self, value: str | None, dialect: Dialect) -> str | None:
        return None if value is None else storable_text(value)


metadata = MetaData(
    naming_convention={
        "pk": "pk_%(table_name)s",
        "fk": "fk_%(table_name)s_%(column_0_name)s",
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
    }
)

# The prefix keeps them apart from the tables of other programs in a shared database.
conversations = Table(
    "lightspeed_conversations",
    metadata,
    Column("id", FreeText, primary_key=True),
    Column("user_id", FreeText, nullable=False),
    Column("created_at", UtcDateTime, nullable=False),
    Column("last_message_at", UtcDateTime, nullable=False),
    Column("message_count", Integer, nullable=False),
    Column("last_provider", FreeText, nullable=False),
    Column("last_model", FreeText, nullable=False),
    Column("topic_summary", FreeText),
    Column("topic_input_tokens", Integer, nullable=False),
    Column("topic_output_tokens", Integer, nullable=False),
    # Read backwards, they list one user's or everyone's conversations newest first.
    Index(None, "user_id", "last_message_at", "id"),
    Index(None, "last_message_at", "id"),
)

NEWEST_FIRST = (conversations.c.last_message_at.desc(), conversations.c.id.desc())

turns = Table(
    "lightspeed_turns",
    metadata,
    Column(
        "conversation_id",
        FreeText,
        ForeignKey("lightspeed_conversations.id", ondelete="CASCADE"),
        primary_key=True,
    ),
    Column("number", Integer, primary_key=True, autoincrement=False),
    Column("request_id", FreeText, nullable=False),
    Column("user_id", FreeText, nullable=False),
    Column("status", Text, nullable=False),
    Column("provider", FreeText, nullable=False),
    Column("model", FreeText, nullable=False),
    Column("query", FreeText, nullable=False),
    Column("answer", FreeText, nullable=False),
    Column("attachments", JSON, nullable=False),
    Column("tool_calls", JSON, nullable=False),
    Column("tool_results", JSON, nullable=False),
    Column("rag_chunks", JSON, nullable=False),
    Column("referenced_documents", JSON, nullable=False),
    Column("input_tokens", Integer, nullable=False),
    Column("output_tokens", Integer, nullable=False),
    Column("error", JSON(none_as_null=True)),
    Column("started_at", UtcDateTime, nullable=False),
    Column("completed_at", UtcDateTime, nullable=False),
    Index(None, "request_id", unique=True),
    # For the erasure of a user's turns in conversations of others.
    Index(None, "user_id"),
)

# Wishes to stop a stream that another process of the service may be running.
interrupts = Table(
    "lightspeed_interrupts",
    metadata,
    Column("request_id", FreeText, primary_key=True),
    Column("user_id", FreeText, primary_key=True),
    Column("requested_at", UtcDateTime, nullable=False),
    Column("outcome", Text),
)

# What an administrator has switched while the service runs.
switches = Table(
    "lightspeed_switches",
    metadata,
    Column("name", FreeText, primary_key=True),
    Column("enabled", Boolean, nullable=False),
)

# Who made a vector store through the API. Stores of the configuration have no row here.
vector_stores = Table(
    "lightspeed_vector_stores",
    metadata,
    Column("id", FreeText, primary_key=True),
    Column("user_id", FreeText, nullable=False),
    Column("created_at", UtcDateTime, nullable=False),
    # Seconds since 1970.
    Column("expires_at", BigInteger),
    Index(None, "user_id", "created_at", "id"),
)

# Who uploaded a file.
files = Table(
    "lightspeed_files",
    metadata,
    Column("id", FreeText, primary_key=True),
    Column("user_id", FreeText, nullable=False),
    Column("created_at", UtcDateTime, nullable=False),
    Column("filename", FreeText, nullable=False),
    Column("bytes", BigInteger, nullable=False),
    Index(None, "user_id", "created_at", "id"),
    Index(None, "created_at", "id"),
)

# What a user, or everyone together, may still spend.
quotas = Table(
    "lightspeed_quotas",
    metadata,
    Column("limiter", FreeText, primary_key=True),
    # `user` or `cluster`, and whose quota it is; the id of the cluster is empty.
    Column("subject", Text, primary_key=True),
    Column("subject_id", FreeText, primary_key=True),
    Column("available", BigInteger, nullable=False),
    # Who has taken the last tokens, and may overdraw.
    Column("overdrawn_by", Text),
    Column("updated_at", UtcDateTime, nullable=False),
    # When the period began that runs now.
    Column("refilled_at", UtcDateTime, nullable=False),
    Index(None, "limiter", "refilled_at"),
)

# Tokens by user and model, summed.
token_usage = Table(
    "lightspeed_token_usage",
    metadata,
    Column("user_id", FreeText, primary_key=True),
    Column("provider", FreeText, primary_key=True),
    Column("model", FreeText, primary_key=True),
    Column("input_tokens", BigInteger, nullable=False),
    Column("output_tokens", BigInteger, nullable=False),
    Column("updated_at", UtcDateTime, nullable=False),
)

# MCP servers that were added through the API.
mcp_servers = Table(
    "lightspeed_mcp_servers",
    metadata,
    Column("name", FreeText, primary_key=True),
    Column("user_id", FreeText, nullable=False),
    Column("url", FreeText, nullable=False),
    Column("provider_id", FreeText, nullable=False),
    Column("authorization_headers", JSON, nullable=False),
    Column("headers", JSON, nullable=False),
    # Seconds.
    Column("timeout", Integer),
    Column("created_at", UtcDateTime, nullable=False),
    Index(None, "user_id"),
)

# Turns that wait for a person, with all that is needed to go on.
paused_turns = Table(
    "lightspeed_paused_turns",
    metadata,
    Column("request_id", FreeText, primary_key=True),
    Column("conversation_id", FreeText, nullable=False),
    Column("user_id", FreeText, nullable=False),
    Column("state", JSON, nullable=False),
    Column("created_at", UtcDateTime, nullable=False),
    Column("expires_at", UtcDateTime, nullable=False),
    # Which process goes on with it, and until when nobody else may.
    Column("resumed_by", Text),
    Column("resumed_until", UtcDateTime),
    Index(None, "conversation_id"),
    Index(None, "user_id"),
    Index(None, "expires_at"),
)

# Calls of tools that a person allows or not. They outlive the turn.
approvals = Table(
    "lightspeed_approvals",
    metadata,
    Column("id", FreeText, primary_key=True),
    Column("request_id", FreeText, nullable=False),
    Column("conversation_id", FreeText, nullable=False),
    Column("user_id", FreeText, nullable=False),
    Column("server_label", FreeText, nullable=False),
    Column("tool_name", FreeText, nullable=False),
    Column("arguments", JSON, nullable=False),
    # `pending`, `approved`, `denied` or `expired`.
    Column("status", Text, nullable=False),
    Column("decision_reason", FreeText),
    Column("created_at", UtcDateTime, nullable=False),
    Column("expires_at", UtcDateTime, nullable=False),
    Column("decided_at", UtcDateTime),
    Index(None, "request_id"),
    Index(None, "conversation_id"),
    Index(None, "user_id", "status"),
    Index(None, "status", "expires_at"),
)

# Templates for everyone; a change makes a new version.
prompts = Table(
    "lightspeed_prompts",
    metadata,
    Column("id", FreeText, primary_key=True),
    Column("version", Integer, primary_key=True, autoincrement=False),
    Column("user_id", FreeText, nullable=False),
    Column("prompt", FreeText, nullable=False),
    Column("variables", JSON, nullable=False),
    Column("is_default", Boolean, nullable=False),
    Column("created_at", UtcDateTime, nullable=False),
)

# Texts that a user keeps for later.
saved_prompts = Table(
    "lightspeed_saved_prompts",
    metadata,
    Column("id", FreeText, primary_key=True),
    Column("user_id", FreeText, nullable=False),
    Column("name", FreeText, nullable=False),
    Column("content", FreeText, nullable=False),
    Column("created_at", UtcDateTime, nullable=False),
    Column("updated_at", UtcDateTime, nullable=False),
    Index(None, "user_id", "name", unique=True),
    Index(None, "user_id", "created_at", "id"),
)
