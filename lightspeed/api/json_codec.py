"""JSON on the wire: strict when read, never failing when written."""

import json
import re
from typing import Any

import jiter
from pydantic import BaseModel
from pydantic_core import PydanticSerializationError, to_json

_POSITION = re.compile(r" at line (\d+) column (\d+)$")


class MalformedJSON(Exception):
    """`position` counts characters from the start of the text."""

    def __init__(self, message: str, position: int) -> None:
        self.message = message
        self.position = position
        super().__init__(message)


def decode(content: bytes) -> Any:
    """The value of a JSON text.

    Raises MalformedJSON, also for what lenient parsers let pass: NaN and Infinity, a key twice in one
    object, invalid UTF-8, lone surrogates, and more than 200 levels.
    """
    try:
        return jiter.from_json(content, allow_inf_nan=False, catch_duplicate_keys=True)
    except ValueError as error:
        raise _malformed(content, str(error)) from None


def _malformed(content: bytes, message: str) -> MalformedJSON:
    try:
        text = content.decode()
    except UnicodeDecodeError as error:
        return MalformedJSON("Invalid UTF-8", error.start)
    try:
        json.loads(text)
    except json.JSONDecodeError as error:
        return MalformedJSON(error.msg, error.pos)
    except (RecursionError, ValueError):
        pass
    found = _POSITION.search(message)
    if found is None:
        return MalformedJSON(message, 0)
    line, column = int(found[1]), int(found[2])
    before = text.split("\n", line - 1)[: line - 1]
    return MalformedJSON(message[: found.start()], sum(len(part) + 1 for part in before) + column)


def encode(value: Any) -> bytes:
    """JSON of plain values; what JSON cannot express becomes null or an empty object."""
    try:
        return to_json(value, inf_nan_mode="null", fallback=_unknown)
    except PydanticSerializationError:
        return json.dumps(value, default=_unknown, separators=(",", ":")).encode()


def encode_model(model: BaseModel, *, exclude_none: bool = False) -> bytes:
    """JSON of a model, by alias. Lone surrogates, which a model may emit in pieces, are escaped."""
    try:
        return model.__pydantic_serializer__.to_json(model, by_alias=True, exclude_none=exclude_none)
    except PydanticSerializationError:
        plain = model.model_dump(mode="json", by_alias=True, exclude_none=exclude_none)
        return json.dumps(plain, separators=(",", ":")).encode()


def _unknown(_: Any) -> dict[str, Any]:
    return {}
