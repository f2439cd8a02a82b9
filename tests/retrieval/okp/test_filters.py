"""Filters of a request as Solr queries: what they say, and that nothing in them is more than a value."""

from typing import Any

import pytest

from lightspeed.errors import BadRequest
from lightspeed.retrieval.okp.filters import filter_query
from tests.solr_server.lucene import parse

FIELDS = frozenset({"version", "product", "size"})
DOCUMENTS = {
    "a": {"version": "4.16", "product": "openshift", "size": 3},
    "b": {"version": "4.14", "product": "openshift", "size": 7},
    "c": {"version": "9", "product": "rhel"},
}


def found(filters: dict[str, Any]) -> str:
    """Names of the documents that Lucene's rules find."""
    matches = parse(filter_query(filters), FIELDS)
    return "".join(name for name, document in DOCUMENTS.items() if matches(document))


def compare(kind: str, value: Any, key: str = "version") -> dict[str, Any]:
    return {"type": kind, "key": key, "value": value}


def both(kind: str, *filters: dict[str, Any]) -> dict[str, Any]:
    return {"type": kind, "filters": list(filters)}


@pytest.mark.parametrize(
    ("filters", "query"),
    [
        (compare("eq", "4.16"), 'version:"4.16"'),
        (compare("in", ["4.16", "4.17"]), 'version:("4.16" OR "4.17")'),
        (compare("eq", True), 'version:"true"'),
        (compare("gte", 3, "size"), 'size:["3" TO *]'),
        (compare("lt", 3.5, "size"), 'size:[* TO "3.5"}'),
        (
            both("and", compare("eq", "a"), compare("ne", "b", "product")),
            '(version:"a" AND (*:* -product:"b"))',
        ),
    ],
)
def test_queries(filters: dict[str, Any], query: str) -> None:
    assert filter_query(filters) == query


@pytest.mark.parametrize(
    ("filters", "expected"),
    [
        (compare("eq", "4.16"), "a"),
        (compare("ne", "4.16"), "bc"),
        (compare("in", ["4.16", "9"]), "ac"),
        (compare("nin", ["4.16", "9"]), "b"),
        (compare("gt", 3, "size"), "b"),
        (compare("gte", 3, "size"), "ab"),
        (compare("lt", 7, "size"), "a"),
        (compare("lte", 7, "size"), "ab"),
        (both("or", compare("ne", "4.16"), compare("eq", 3, "size")), "abc"),
        (both("and", compare("ne", "4.16"), compare("nin", ["rhel"], "product")), "b"),
        (
            both(
                "or", both("and", compare("eq", "4.14"), compare("eq", "rhel", "product")), compare("eq", "9")
            ),
            "c",
        ),
    ],
)
def test_what_they_find(filters: dict[str, Any], expected: str) -> None:
    assert found(filters) == expected


@pytest.mark.parametrize(
    "value",
    [
        '4.16" OR version:"4.14',
        '" OR *:*',
        "*:*",
        "*",
        "{!join from=id to=id fromIndex=secrets}*:*",
        '\\" OR *:* OR version:\\"',
        "\\",
        '\\\\" OR *:*',
        '4.14\n" OR *:*',
        "4.1?",
        "[* TO *]",
        "",
    ],
)
def test_a_value_is_never_a_query(value: str) -> None:
    assert found(compare("eq", value)) == ""
    assert found(compare("in", [value, value])) == ""
    assert found(compare("ne", value)) == "abc"
    DOCUMENTS["d"] = {"version": value}
    try:
        assert found(compare("eq", value)) == "d"
    finally:
        del DOCUMENTS["d"]


@pytest.mark.parametrize(
    ("filters", "cause"),
    [
        ("eq", "A filter is an object with 'type', not 'eq'."),
        ({}, "The type of a filter is one of eq, ne, in, nin, gt, gte, lt, lte, and, or, not null."),
        (compare("like", "x"), "not 'like'"),
        (compare("eq", "x", "_query_"), "The key of a filter is the name of a field, not '_query_'."),
        (compare("eq", "x", "_val_"), "'_val_'"),
        (compare("eq", "x", "a:b OR c"), "'a:b OR c'"),
        (compare("eq", "x", "*"), "'*'"),
        (compare("eq", "x", "{!knn}f"), "'{!knn}f'"),
        (compare("eq", "x", 7), "a value of type int"),  # type: ignore[arg-type]
        ({"type": "eq", "key": "version"}, "The filter on 'version' has no 'value'."),
        (compare("eq", None), "compares with a string, number or boolean, not null"),
        (compare("eq", ["a"]), "not a value of type list"),
        (compare("eq", float("nan")), "not a value of type float"),
        (compare("eq", "x" * 1001), "longer than 1000 characters"),
        (compare("in", "4.16"), "The filter 'in' on 'version' needs a list of values, not '4.16'."),
        (compare("in", []), "needs a list of values"),
        (compare("in", [{"a": 1}]), "not a value of type dict"),
        (compare("gt", True), "needs a string or a number"),
        (both("and"), "The filter 'and' needs a list of filters"),
        ({"type": "or", "filters": {"type": "eq"}}, "The filter 'or' needs a list of filters"),
        (compare("eq", "x") | {"boost": 3}, "The filter 'eq' has unknown keys: boost."),
        (compare("in", ["x"] * 501), "The filter has 501 values; 500 are allowed."),
    ],
)
def test_what_is_wrong_is_said(filters: Any, cause: str) -> None:
    with pytest.raises(BadRequest) as error:
        filter_query(filters)
    assert cause in error.value.cause


def test_depth_is_limited() -> None:
    filters = compare("eq", "4.16")
    for _ in range(8):
        filters = both("and", filters)
    assert found(filters) == "a"
    with pytest.raises(BadRequest, match="nested more than 8 times"):
        filter_query(both("and", filters))
