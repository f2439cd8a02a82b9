"""Ids of conversations and prompts: how they are made, and the one form in which they are stored."""

import hashlib
import re
import secrets
import uuid

_NATIVE = re.compile(r"(?:conv_)?([0-9a-f]{48})")
_PROMPT = re.compile(r"pmpt_[0-9a-f]{48}")
_PLAIN = re.compile(r"[0-9A-Za-z_-]{1,100}")
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


def is_conversation_id(value: str) -> bool:
    """Whether the value is the stored form of an id."""
    return normalize_conversation_id(value) == value


def new_prompt_id() -> str:
    """A new random id: `pmpt_` and 48 lower-case hex digits."""
    return f"pmpt_{secrets.token_hex(24)}"


def normalize_prompt_id(value: str) -> str | None:
    """The stored form of an id, or None if it is not an id."""
    folded = value.lower() if value.isascii() else ""
    return folded if _PROMPT.fullmatch(folded) else None


def normalize_saved_prompt_id(value: str) -> str | None:
    """The stored form of an id, or None if it is not an id."""
    try:
        parsed = str(uuid.UUID(value))
    except ValueError:
        return None
    # uuid.UUID alone would also take braces, and digits without dashes.
    return parsed if value.lower() == parsed else None


def file_name(identifier: str) -> str:
    """The identifier as a file may be called: as it is, or its hash if a path could be hidden in it."""
    if _PLAIN.fullmatch(identifier):
        return identifier
    return hashlib.sha256(identifier.encode("utf-8", "surrogatepass")).hexdigest()
