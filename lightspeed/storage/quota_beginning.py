"""The first balance of a payer: what the limit gives, or what lightspeed-stack has left in the same database."""

import logging
from contextlib import suppress
from datetime import UTC, datetime

from sqlalchemy import Connection, inspect, text
from sqlalchemy.exc import SQLAlchemyError

from lightspeed.identity.quota import Limit, Payer
from lightspeed.storage.encoding import storable_text
from lightspeed.storage.schema import quotas
from lightspeed.storage.upsert import insert_into

logger = logging.getLogger(__name__)

_EARLIER_TABLE = "quota_limits"
_EARLIER_COLUMNS = {"id", "subject", "available", "revoked_at"}
_EARLIER_BALANCE = text(
    "SELECT available, revoked_at FROM quota_limits WHERE id = :id AND subject = :subject"
)


def begin_balance(connection: Connection, limit: Limit, payer: Payer, now: datetime, *, sole: bool) -> None:
    """Make the row of a payer unless it is there; several may do so at once.

    `sole` says that no other limit is of the same type: lightspeed-stack keeps one balance for all of a type.
    """
    subject, subject_id = limit.subject(payer)
    earlier = _earlier_balance(connection, subject, subject_id, now) if sole else None
    available, refilled_at = earlier or (limit.first, now)
    row = {
        "limiter": limit.name,
        "subject": subject,
        "subject_id": subject_id,
        "available": available,
        "overdrawn_by": None,
        "updated_at": now,
        "refilled_at": refilled_at,
    }
    connection.execute(insert_into(connection.dialect.name, quotas).values(row).on_conflict_do_nothing())


def _earlier_balance(
    connection: Connection, subject: str, subject_id: str, now: datetime
) -> tuple[int, datetime] | None:
    # There, users and organizations share ids: a row may be anybody's but a user's or the cluster's.
    if subject not in ("user", "cluster"):
        return None
    key = {"id": storable_text(subject_id), "subject": subject[0]}
    try:
        # The table belongs to another program: what is wrong with it must not spoil the transaction.
        with connection.begin_nested():
            tables = inspect(connection)
            if not tables.has_table(_EARLIER_TABLE):
                return None
            columns = {column["name"] for column in tables.get_columns(_EARLIER_TABLE)}
            row = connection.execute(_EARLIER_BALANCE, key).first() if columns >= _EARLIER_COLUMNS else None
    except SQLAlchemyError as error:
        logger.warning("The quotas of lightspeed-stack cannot be read: %s", type(error).__name__)
        return None
    if row is None or not isinstance(row.available, int):
        return None
    return row.available, min(_moment(row.revoked_at) or now, now)


def _moment(value: object) -> datetime | None:
    """A time of PostgreSQL, or the text that stands for one in SQLite, in UTC there."""
    if isinstance(value, str):
        with suppress(ValueError):
            value = datetime.fromisoformat(value)
    if not isinstance(value, datetime):
        return None
    return value.replace(tzinfo=UTC) if value.tzinfo is None else value
