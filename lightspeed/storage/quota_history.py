"""Tokens by user and model, summed."""

from collections.abc import Sequence
from datetime import datetime

from sqlalchemy import Connection, delete, func, select

from lightspeed.storage.quota_records import TokenUsage
from lightspeed.storage.schema import token_usage
from lightspeed.storage.upsert import insert_into


def add_usage(connection: Connection, usage: TokenUsage, now: datetime) -> None:
    """Add to the sums."""
    sums, new = token_usage.c, insert_into(connection.dialect.name, token_usage)
    row = {
        "user_id": usage.user_id,
        "provider": usage.provider,
        "model": usage.model,
        "input_tokens": usage.input_tokens,
        "output_tokens": usage.output_tokens,
        "updated_at": now,
    }
    connection.execute(
        new.values(row).on_conflict_do_update(
            index_elements=list(token_usage.primary_key),
            set_={
                "input_tokens": sums.input_tokens + new.excluded.input_tokens,
                "output_tokens": sums.output_tokens + new.excluded.output_tokens,
                "updated_at": now,
            },
        )
    )


def read_usage(connection: Connection, user_id: str) -> Sequence[TokenUsage]:
    """The sums of a user, by provider and model."""
    columns = [column for column in token_usage.c if column.name != "updated_at"]
    statement = (
        select(*columns)
        .where(token_usage.c.user_id == user_id)
        .order_by(token_usage.c.provider, token_usage.c.model)
    )
    return [TokenUsage(*row) for row in connection.execute(statement)]


def count_usage(connection: Connection, user_id: str) -> int:
    statement = select(func.count()).select_from(token_usage).where(token_usage.c.user_id == user_id)
    return int(connection.scalar(statement) or 0)


def remove_usage(connection: Connection, user_id: str) -> int:
    return connection.execute(delete(token_usage).where(token_usage.c.user_id == user_id)).rowcount
