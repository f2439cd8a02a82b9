"""Text and JSON that every database and every reader accepts: an odd character never costs a paid answer."""

import re
from typing import Any

from pydantic_core import PydanticSerializationError, to_json

# PostgreSQL refuses NUL in text, and a lone surrogate has no UTF-8 form.
_UNSTORABLE = re.compile("[\x00\ud800-\udfff]")


def storable_text(text: str) -> str:
    """The text with U+FFFD in place of each character that cannot be stored."""
    return _UNSTORABLE.sub("\ufffd", text)


def json_bytes(value: Any) -> bytes:
    """Strict JSON in UTF-8, keys in the order given; NaN and infinities become null."""
    try:
        return _to_json(value)
    except PydanticSerializationError:
        return _to_json(_storable(value))


def json_text(value: Any) -> str:
    """As `json_bytes`, for a column of a table."""
    return json_bytes(value).decode()


def _to_json(value: Any) -> bytes:
    return to_json(value, inf_nan_mode="null", bytes_mode="base64", fallback=str)


def _storable(value: Any) -> Any:
    match value:
        case str():
            return storable_text(value)
        case dict():
            return {_storable(key): _storable(item) for key, item in value.items()}
        case list() | tuple() | set() | frozenset():
            return [_storable(item) for item in value]
        case _:
            return value
