"""The object `solr` of a question: how its sender wants the portal to be searched."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, get_args

from lightspeed.errors import BadRequest, Unprocessable
from lightspeed.retrieval.okp.filters import filter_query

type Mode = Literal["semantic", "hybrid", "lexical"]

MODES: tuple[Mode, ...] = get_args(Mode.__value__)
DEFAULT_MODE: Mode = "hybrid"

_PARAMETERS = ("fq", "bq")
_MOST_QUERIES = 20
_LONGEST_QUERY = 2000
# Solr starts another parser, and with it joins to other collections or the reading of files, where it meets these.
_EMBEDDED = re.compile(r"\{!|_query_|_val_")


@dataclass(frozen=True, slots=True)
class PortalQuery:
    """A checked object `solr`: `filters` as in `filter_query`, `solr` as in `solr_parameters`.

    `legacy` is true where the object was of the old form, filters without a name; whoever serves it should warn.
    """

    mode: Mode = DEFAULT_MODE
    filters: Mapping[str, Any] | None = None
    solr: Mapping[str, Any] = field(default_factory=dict)
    legacy: bool = False


def portal_query(solr: Mapping[str, Any] | None) -> PortalQuery:
    """Read the object `solr` of a request, `{"mode": ..., "filters": {"filters": {...}, "fq": [...]}}`.

    An object with neither key is taken for `filters` itself. A filter may also stand where the object that holds it
    belongs. Raises Unprocessable for an object of another shape, BadRequest for a filter or a Solr parameter that is
    refused; the cause names it.
    """
    if solr is None:
        return PortalQuery()
    legacy = bool(solr) and not solr.keys() & {"mode", "filters"}
    if legacy:
        mode, given = None, solr
    else:
        unknown = sorted(str(key) for key in solr if key not in ("mode", "filters"))
        if unknown:
            raise Unprocessable(
                f"solr has unknown keys: {', '.join(unknown)[:200]}; it takes mode and filters."
            )
        mode, given = solr.get("mode"), solr.get("filters") or {}
    if mode is not None and mode not in MODES:
        raise Unprocessable(f"solr.mode is one of {', '.join(MODES)}.")
    if not isinstance(given, Mapping):
        raise Unprocessable("solr.filters is an object.")
    filters: Any
    if isinstance(given.get("type"), str):
        filters, rest = given, {}
    else:
        filters, rest = given.get("filters"), {key: given[key] for key in given if key != "filters"}
    if filters is not None:
        filter_query(filters)
    solr_parameters(rest)
    return PortalQuery(mode or DEFAULT_MODE, filters, rest, legacy)


def solr_parameters(solr: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Solr's own parameters that a request may set, `fq` and `bq`, each a query or a list of queries.

    Raises BadRequest for any other, by its name, and for a query that would start another parser inside Solr.
    """
    parameters: list[tuple[str, str]] = []
    for name, value in solr.items():
        if name not in _PARAMETERS:
            raise BadRequest(
                f"The Solr parameter '{str(name)[:100]}' is not accepted; use {' or '.join(_PARAMETERS)}."
            )
        queries = [value] if isinstance(value, str) else value
        if not isinstance(queries, list | tuple) or not all(isinstance(query, str) for query in queries):
            raise BadRequest(f"The Solr parameter '{name}' is a query or a list of queries.")
        parameters += [(name, query) for query in queries if query.strip()]
    if len(parameters) > _MOST_QUERIES:
        raise BadRequest(f"The request sets more than {_MOST_QUERIES} Solr parameters.")
    for name, query in parameters:
        _check(name, query)
    return parameters


def _check(name: str, query: str) -> None:
    if len(query) > _LONGEST_QUERY:
        raise BadRequest(
            f"A query in the Solr parameter '{name}' is longer than {_LONGEST_QUERY} characters."
        )
    # A backslash hides a character from this check but not from Solr, which takes it away.
    if "\\u" in query or _EMBEDDED.search(query.replace("\\", "")):
        raise BadRequest(
            f"A query in the Solr parameter '{name}' holds a query of another kind"
            " ('{!', '_query_', '_val_' and '\\u' are refused)."
        )
