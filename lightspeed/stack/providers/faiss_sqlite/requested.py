"""What clients say when they make a store or attach a file, checked."""

import json
import math
from collections.abc import Mapping
from typing import Any

from lightspeed.stack.providers.faiss_sqlite.chunks import Scalar
from lightspeed.stack.providers.faiss_sqlite.metadata import storable
from lightspeed.stack.providers.faiss_sqlite.stock_records import MOST_DAYS, OWN_KEYS

# What the stack's router makes of `auto`.
_ROUTERS_AUTO = {"max_chunk_size_tokens": 800, "chunk_overlap_tokens": 400}

_MOST_ATTRIBUTES, _LONGEST_KEY, _LONGEST_VALUE = 16, 64, 512
_MOST_FILES = 500


def attributes_of(given: Mapping[str, Any] | None) -> dict[str, Scalar]:
    """The attributes of a file. Raises ValueError beyond the limits of OpenAI's interface."""
    attributes = dict(given or {})
    if len(attributes) > _MOST_ATTRIBUTES:
        raise ValueError(f"A file has at most {_MOST_ATTRIBUTES} attributes, not {len(attributes)}.")
    for key, value in attributes.items():
        if not key or len(key) > _LONGEST_KEY:
            raise ValueError(
                f"The name of an attribute has 1 to {_LONGEST_KEY} characters; {key[:80]!r} has {len(key)}."
            )
        if not isinstance(value, str | int | float | bool) or (
            isinstance(value, float) and not math.isfinite(value)
        ):
            raise ValueError(f"The attribute {key!r} is a string, a number or a boolean.")
        if storable(key) != key or (isinstance(value, str) and storable(value) != value):
            raise ValueError(f"The attribute {key!r} holds NUL or half surrogates, which cannot be stored.")
        if isinstance(value, str) and len(value) > _LONGEST_VALUE:
            raise ValueError(
                f"The attribute {key!r} has at most {_LONGEST_VALUE} characters, not {len(value)}."
            )
    return attributes


def strategy_of(given: Any, usual: Mapping[str, Any] | None, default_model: str | None) -> dict[str, Any]:
    """The chunking strategy as it is kept; `usual` is the store's own.

    A static one of 800 and 400 tokens is what the stack says for `auto`. Raises ValueError.
    """
    strategy: dict[str, Any] = given.model_dump() if given is not None else {"type": "auto"}
    if is_automatic(strategy) and usual is not None and not is_automatic(usual):
        strategy = dict(usual)
    sizes = strategy.get(strategy["type"]) or {}
    if sizes.get("chunk_overlap_tokens", 0) < 0:
        raise ValueError("chunk_overlap_tokens is not negative.")
    if not is_automatic(strategy) and sizes["chunk_overlap_tokens"] >= sizes["max_chunk_size_tokens"]:
        raise ValueError("chunk_overlap_tokens must be less than max_chunk_size_tokens.")
    if strategy["type"] == "contextual" and not sizes.get("model_id") and default_model is None:
        raise ValueError(
            "Contextual chunking needs a model: chunking_strategy.contextual.model_id, or "
            "vector_stores.contextual_retrieval_params.model in run.yaml."
        )
    return strategy


def is_automatic(strategy: Mapping[str, Any]) -> bool:
    """Whether the sizes of chunks are left to us."""
    return strategy["type"] == "auto" or (
        strategy["type"] == "static" and dict(strategy["static"]) == _ROUTERS_AUTO
    )


def expiry_days(expires_after: Mapping[str, Any] | None) -> int | None:
    """Days after the last use. Raises ValueError."""
    if expires_after is None:
        return None
    days = expires_after.get("days")
    if expires_after.get("anchor", "last_active_at") != "last_active_at":
        raise ValueError("The anchor of expires_after is last_active_at.")
    if isinstance(days, bool) or not isinstance(days, int) or not 1 <= days <= MOST_DAYS:
        raise ValueError(f"The days of expires_after are a whole number from 1 to {MOST_DAYS}, not {days!r}.")
    return days


def metadata_of_store(given: Mapping[str, Any] | None) -> dict[str, Any]:
    """The user's own metadata: without the keys that the stack adds. Raises ValueError for what JSON cannot say."""
    metadata = {key: value for key, value in (given or {}).items() if key not in OWN_KEYS}
    try:
        json.dumps(metadata, allow_nan=False, ensure_ascii=False).encode()
    except (TypeError, ValueError) as error:
        raise ValueError(f"The metadata of a vector store cannot be kept: {error}") from None
    return metadata


def files_of_batch(file_ids: list[str]) -> list[str]:
    """Each once. Raises ValueError for none and for too many."""
    files = list(dict.fromkeys(file_ids))
    if not files or not all(files):
        raise ValueError("A file batch needs the ids of its files.")
    if len(files) > _MOST_FILES:
        raise ValueError(f"A file batch has at most {_MOST_FILES} files, not {len(files)}.")
    return files
