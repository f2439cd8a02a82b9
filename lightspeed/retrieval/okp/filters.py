"""Conditions on metadata, as Solr filter queries.

A filter is a mapping, in the form that OpenAI's vector stores use:

    {"type": "eq", "key": "version", "value": "4.16"}         eq ne gt gte lt lte; in nin with a list
    {"type": "and", "filters": [...]}                         and or

Every value is put in quotes, so nothing in it is read as a query.
"""

import math
import re
from collections.abc import Mapping
from typing import Any

from lightspeed.errors import BadRequest

# Solr runs the text after _query_ and _val_ as queries of their own; no field of a user's begins so.
_FIELD = re.compile(r"[A-Za-z][A-Za-z0-9_.]*", re.ASCII)
_RANGES = {"gt": "{{{} TO *]", "gte": "[{} TO *]", "lt": "[* TO {}}}", "lte": "[* TO {}]"}
_TYPES = "eq, ne, in, nin, gt, gte, lt, lte, and, or"
_DEEPEST = 8
_MOST_VALUES = 500
_LONGEST_VALUE = 1000


def filter_query(filters: Mapping[str, Any]) -> str:
    """The Solr query that a filter stands for. Raises BadRequest that says what is wrong with it."""
    query, values = _query(filters, _DEEPEST)
    if values > _MOST_VALUES:
        raise BadRequest(f"The filter has {values} values; {_MOST_VALUES} are allowed.")
    return query


def quoted(text: str) -> str:
    """`text` as a phrase of Solr's query language."""
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'


def _query(filters: Any, deepest: int) -> tuple[str, int]:
    """A query, and how many values it compares with."""
    if not isinstance(filters, Mapping):
        raise BadRequest(f"A filter is an object with 'type', not {_shown(filters)}.")
    kind = filters.get("type")
    if kind in ("and", "or"):
        return _compound(kind, filters, deepest)
    if kind not in ("eq", "ne", "in", "nin", *_RANGES):
        raise BadRequest(f"The type of a filter is one of {_TYPES}, not {_shown(kind)}.")
    _only(filters, ("type", "key", "value"))
    key = filters.get("key")
    if not isinstance(key, str) or not _FIELD.fullmatch(key):
        raise BadRequest(f"The key of a filter is the name of a field, not {_shown(key)}.")
    if "value" not in filters:
        raise BadRequest(f"The filter on '{key}' has no 'value'.")
    value = filters["value"]
    if kind in ("in", "nin"):
        if not isinstance(value, list | tuple) or not value:
            raise BadRequest(f"The filter '{kind}' on '{key}' needs a list of values, not {_shown(value)}.")
        found = f"{key}:({' OR '.join(_literal(key, item) for item in value)})"
        return (f"(*:* -{found})" if kind == "nin" else found), len(value)
    literal = _literal(key, value)
    if kind == "eq":
        return f"{key}:{literal}", 1
    if kind == "ne":
        return f"(*:* -{key}:{literal})", 1
    if isinstance(value, bool):
        raise BadRequest(f"The filter '{kind}' on '{key}' needs a string or a number, not {_shown(value)}.")
    return f"{key}:{_RANGES[kind].format(literal)}", 1


def _compound(kind: str, filters: Mapping[str, Any], deepest: int) -> tuple[str, int]:
    _only(filters, ("type", "filters"))
    parts = filters.get("filters")
    if not isinstance(parts, list | tuple) or not parts:
        raise BadRequest(f"The filter '{kind}' needs a list of filters, not {_shown(parts)}.")
    if not deepest:
        raise BadRequest(f"Filters are nested more than {_DEEPEST} times.")
    built = [_query(part, deepest - 1) for part in parts]
    joined = f" {kind.upper()} ".join(query for query, _ in built)
    return f"({joined})", sum(values for _, values in built)


def _only(filters: Mapping[str, Any], allowed: tuple[str, ...]) -> None:
    unknown = sorted(str(key) for key in filters if key not in allowed)
    if unknown:
        raise BadRequest(f"The filter '{filters['type']}' has unknown keys: {', '.join(unknown)[:200]}.")


def _literal(key: str, value: Any) -> str:
    if isinstance(value, bool):
        return '"true"' if value else '"false"'
    if isinstance(value, int) or (isinstance(value, float) and math.isfinite(value)):
        return quoted(str(value))
    if isinstance(value, str):
        if len(value) > _LONGEST_VALUE:
            raise BadRequest(f"A value of the filter on '{key}' is longer than {_LONGEST_VALUE} characters.")
        return quoted(value)
    raise BadRequest(f"The filter on '{key}' compares with a string, number or boolean, not {_shown(value)}.")


def _shown(value: Any) -> str:
    if value is None:
        return "null"
    return f"'{value[:100]}'" if isinstance(value, str) else f"a value of type {type(value).__name__}"
