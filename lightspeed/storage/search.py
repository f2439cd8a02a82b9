"""Finding text in conversations in any case, of any language's letters and on either database."""

from sqlalchemy import ColumnElement, Connection, Text, cast, exists, func, literal, or_, select, text

from lightspeed.storage.encoding import storable_text
from lightspeed.storage.schema import conversations, turns

MENTIONS = "lightspeed_mentions"

# The case rules of a PostgreSQL database may know the letters of English only. These know all; which of them there
# are depends on how the server was built, and on its version.
_COLLATIONS = text(
    "SELECT collname FROM pg_collation "
    "WHERE collname IN ('pg_unicode_fast', 'pg_c_utf8', 'und-x-icu', 'C.utf8') AND collnamespace = 'pg_catalog'::regnamespace "
    "AND collencoding IN (-1, pg_char_to_encoding(getdatabaseencoding())) "
    "ORDER BY array_position(ARRAY['pg_unicode_fast', 'pg_c_utf8', 'und-x-icu', 'C.utf8'], collname::text) LIMIT 1"
)


def mentions(content: str | None, wanted: str) -> bool:
    """The function of the name `MENTIONS` in SQLite, whose own `lower` knows the letters of English only.

    `wanted` is in lower case.
    """
    return content is not None and wanted in content.lower()


def mentioning(connection: Connection, wanted: str) -> ColumnElement[bool]:
    """The condition that a conversation's topic, questions or answers hold a text."""
    if connection.dialect.name == "sqlite":
        lowered = storable_text(wanted).lower()

        def held_by(column: ColumnElement[str]) -> ColumnElement[bool]:
            found: ColumnElement[bool] = getattr(func, MENTIONS)(column, lowered)
            return found
    else:
        collation = connection.scalar(_COLLATIONS)
        needle = func.lower(_collated(cast(literal(storable_text(wanted)), Text), collation))

        def held_by(column: ColumnElement[str]) -> ColumnElement[bool]:
            return func.strpos(func.lower(_collated(column, collation)), needle) > 0

    said = exists(
        select(1).where(
            turns.c.conversation_id == conversations.c.id,
            or_(held_by(turns.c.query), held_by(turns.c.answer)),
        )
    )
    return or_(held_by(conversations.c.topic_summary), said)


def _collated(value: ColumnElement[str], collation: str | None) -> ColumnElement[str]:
    return value if collation is None else cast(value, Text).collate(collation)
