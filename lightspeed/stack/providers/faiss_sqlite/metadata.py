"""Metadata as it is stored: a flat JSON object of strings, numbers and booleans.

Clients of the stack expect scalars only, so that nothing else is kept as it is:

- null, NaN and infinity are dropped, as if the key were missing,
- lists and objects become their JSON text, anything else its `str`,
- keys become strings; half surrogates, which no file can hold, and NUL become question marks.
"""

import json
import math
from collections.abc import Mapping
from numbers import Integral, Real
from typing import Any

from lightspeed.stack.providers.faiss_sqlite.chunks import Scalar

# Which value tells where a chunk stands in its document; `position` is what our own chunker writes.
_ORDER_KEYS = ("chunk_index", "position")


def sanitized(metadata: Mapping[str, Any]) -> dict[str, Scalar]:
    """The scalars that are stored."""
    scalars: dict[str, Scalar] = {}
    for key, value in metadata.items():
        scalar = _scalar(value)
        if scalar is not None:
            scalars[storable(str(key))] = scalar
    return scalars


def storable(text: str) -> str:
    """The text without half surrogates, which cannot be written as UTF-8, and without NUL, where SQLite's JSON ends it."""
    text = text.replace("\0", "?")
    try:
        text.encode()
    except UnicodeEncodeError:
        return text.encode(errors="replace").decode()
    return text


def encoded(metadata: Mapping[str, Scalar]) -> str:
    """The JSON text of sanitised metadata."""
    return json.dumps(metadata, ensure_ascii=False, allow_nan=False, separators=(",", ":"))


def storable_name(value: Any) -> str | None:
    """A string that can name a chunk, document or file; None for anything else."""
    usable = isinstance(value, str) and value and storable(value) == value
    return value if usable else None


def storable_integer(value: Any) -> int | None:
    """An integer that a database can hold; None for anything else."""
    usable = isinstance(value, int) and not isinstance(value, bool) and abs(value) < 2**63
    return value if usable else None


def ordinal(metadata: Mapping[str, Scalar]) -> int | None:
    """The place of a chunk in its document, if the metadata tell."""
    for key in _ORDER_KEYS:
        value = storable_integer(metadata.get(key))
        if value is not None:
            return value
    return None


def _scalar(value: Any) -> Scalar | None:
    match value:
        case None:
            return None
        case bool():
            return value
        case str():
            return storable(value)
        case Integral():
            return int(value)
        case Real():
            return float(value) if math.isfinite(value) else None
        case list() | tuple() | dict():
            return storable(json.dumps(value, ensure_ascii=False, default=str))
    return storable(str(value))
