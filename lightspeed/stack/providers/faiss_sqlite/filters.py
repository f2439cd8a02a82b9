"""Conditions on metadata, as SQL.

A filter is a mapping, in the form that OpenAI's vector stores use:

    {"type": "eq", "key": "version", "value": "4.16"}         eq ne gt gte lt lte; in nin with a list
    {"type": "and", "filters": [...]}                         and or

Strings, numbers and booleans are never equal to each other. Where a chunk does not have the key, or its
value is of another kind, `ne` and `nin` are true and all others false. `gt` and the like order numbers, and
strings by code point.
"""

# ruff: noqa: S608 (what is put into SQL are constants; values are parameters)

import json
import math
import sqlite3
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from lightspeed.stack.providers.faiss_sqlite.metadata import storable

_ORDERINGS = {"gt": ">", "gte": ">=", "lt": "<", "lte": "<="}
_NEGATIONS = {"ne": "eq", "nin": "in"}
_TYPES = "eq, ne, gt, gte, lt, lte, in, nin, and, or"
_MOST_PARAMETERS = 1000
_DEEPEST = 20

Parameters = tuple[str | int | float, ...]


@dataclass(frozen=True, slots=True)
class Condition:
    """An SQL expression on the columns of `chunks` that is 0 or 1, and its parameters."""

    sql: str
    parameters: Parameters

    def positions(self, connection: sqlite3.Connection, *, above: int) -> list[int]:
        """The chunks beyond position `above` that fulfil it, in order."""
        statement = f"SELECT position FROM chunks WHERE position > ? AND {self.sql} ORDER BY position"
        return [position for (position,) in connection.execute(statement, (above, *self.parameters))]


def condition(filters: Mapping[str, Any]) -> Condition:
    """The condition that a filter stands for. Raises ValueError that says what is wrong with it."""
    built = _condition(filters, _DEEPEST)
    if len(built.parameters) > _MOST_PARAMETERS:
        raise ValueError("The filter has too many parts.")
    return built


def _condition(filters: Any, deepest: int) -> Condition:
    if not isinstance(filters, Mapping):
        raise ValueError(f"A filter is an object with 'type', not {_shown(filters)}.")
    kind = filters.get("type")
    if kind in ("and", "or"):
        return _compound(kind, filters.get("filters"), deepest)
    if kind not in ("eq", "in", *_ORDERINGS, *_NEGATIONS):
        raise ValueError(f"The type of a filter is one of {_TYPES}, not {_shown(kind)}.")
    key = filters.get("key")
    if not isinstance(key, str):
        raise ValueError(f"The key of a filter is a string, not {_shown(key)}.")
    return _comparison(kind, storable(key), filters.get("value"))


def _compound(kind: str, parts: Any, deepest: int) -> Condition:
    if not isinstance(parts, list | tuple) or not parts:
        raise ValueError(f"The filter '{kind}' needs a list of filters.")
    if not deepest:
        raise ValueError(f"Filters are nested more than {_DEEPEST} times.")
    built = [_condition(part, deepest - 1) for part in parts]
    return Condition(
        f"({f' {kind.upper()} '.join(part.sql for part in built)})",
        tuple(parameter for part in built for parameter in part.parameters),
    )


def _comparison(kind: str, key: str, value: Any) -> Condition:
    if kind in _NEGATIONS:
        opposite = _comparison(_NEGATIONS[kind], key, value)
        return Condition(f"NOT {opposite.sql}", opposite.parameters)
    if kind != "in":
        return _tested(key, [value], _ORDERINGS.get(kind, "="))
    if not isinstance(value, list | tuple):
        raise ValueError(f"The filters 'in' and 'nin' need a list of values for '{key}'.")
    return _tested(key, value, "IN")


def _tested(key: str, values: list[Any] | tuple[Any, ...], operator: str) -> Condition:
    """0 or 1: the value of the key is of the kind of one of the values, and compares to it."""
    texts, numbers, booleans = _by_kind(key, values)
    kind_of, value_of, field = _field(key)
    tests: list[str] = []
    parameters: list[str | int | float] = []
    for kinds, chosen in (("'text'", texts), ("'integer', 'real'", numbers)):
        if chosen and operator == "IN":
            tests.append(f"{kind_of} IN ({kinds}) AND {value_of} IN (SELECT value FROM json_each(?))")
            parameters += [field, field, json.dumps(chosen)]
        elif chosen:
            tests.append(f"{kind_of} IN ({kinds}) AND {value_of} {operator} ?")
            parameters += [field, field, chosen[0]]
    if booleans:
        if operator not in ("=", "IN"):
            raise ValueError(f"The filter on '{key}' cannot order booleans.")
        tests.append(f"{kind_of} IN (SELECT value FROM json_each(?))")
        parameters += [field, json.dumps([str(value).lower() for value in booleans])]
    return Condition(f"coalesce({' OR '.join(tests) or 0}, 0)", tuple(parameters))


def _by_kind(
    key: str, values: list[Any] | tuple[Any, ...]
) -> tuple[list[str], list[int | float], list[bool]]:
    texts: list[str] = []
    numbers: list[int | float] = []
    booleans: list[bool] = []
    for value in values:
        if isinstance(value, bool):
            booleans.append(value)
        elif isinstance(value, str):
            texts.append(storable(value))
        elif _is_number(value):
            numbers.append(value)
        else:
            raise ValueError(
                f"The filter on '{key}' compares strings, numbers and booleans, not {_shown(value)}."
            )
    return texts, numbers, booleans


def _is_number(value: Any) -> bool:
    if isinstance(value, float):
        return math.isfinite(value)
    return isinstance(value, int) and -(2**63) <= value < 2**63


def _field(key: str) -> tuple[str, str, str]:
    """SQL for the kind and for the value of a key, each with one parameter, and that parameter."""
    if key and key.isprintable() and not set('"\\') & set(key):
        return "json_type(chunks.metadata, ?)", "json_extract(chunks.metadata, ?)", f'$."{key}"'
    # A path cannot name such a key.
    one = "(SELECT {} FROM json_each(chunks.metadata) WHERE key = ?)"
    return one.format("type"), one.format("value"), key


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
