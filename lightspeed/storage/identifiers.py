"""Conversation ids: how they are made, and the one form in which they are stored."""

import re
import secrets
import uuid

_NATIVE = re.compile(r"(?:conv_)?([0-9a-f]{48})")
_UUID_CHARACTERS = re.compile(r"(?:urn:)?(?:uuid:)?[{}0-9a-f-]+")


def new_conversation_id() -> str:
    """A new random id: 48 lower-case hex digits."""
    return secrets.token_hex(24)


def normalize_conversation_id(value: str) -> str | None:
    """The stored form of an id in any accepted spelling, or None if it is not an id.

    48 hex digits, with or without `conv_`, become 48 lower-case digits; a UUID becomes its lower-case
    form with dashes.
    """
    folded = value.lower() if value.isascii() else ""
    if native := _NATIVE.fullmatch(folded):
        return native[1]
    # uuid.UUID alone would also take signs, blanks, underscores and 0x.
    if not _UUID_CHARACTERS.fullmatch(folded):
        return None
    try:
        return str(uuid.UUID(folded))
    except ValueError:
        return None
