"""The tables. A change here needs a new revision in `migrations/versions`; a test compares the two."""

from datetime import UTC, datetime

from sqlalchemy import (
    JSON,
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

conversations = Table(
    "conversations",
    metadata,
    Column("id", Text, primary_key=True),
    Column("user_id", FreeText, nullable=False),
    Column("created_at", UtcDateTime, nullable=False),
    Column("last_message_at", UtcDateTime, nullable=False),
    Column("message_count", Integer, nullable=False),
    Column("last_provider", FreeText, nullable=False),
    Column("last_model", FreeText, nullable=False),
    Column("topic_summary", FreeText),
    # Read backwards, it lists one user's conversations newest first.
    Index(None, "user_id", "last_message_at", "id"),
)

turns = Table(
    "turns",
    metadata,
    Column("conversation_id", Text, ForeignKey("conversations.id", ondelete="CASCADE"), primary_key=True),
    Column("number", Integer, primary_key=True, autoincrement=False),
    Column("request_id", Text, nullable=False),
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
)
