"""The object `solr` of a request."""

from typing import Any

import pytest

from lightspeed.errors import BadRequest, Unprocessable
from lightspeed.retrieval.okp.request import PortalQuery, portal_query, solr_parameters

VERSION = {"type": "in", "key": "version", "value": ["4.16"]}


@pytest.mark.parametrize(
    ("solr", "expected"),
    [
        (None, PortalQuery()),
        ({}, PortalQuery()),
        ({"mode": None, "filters": None}, PortalQuery()),
        ({"mode": "lexical"}, PortalQuery("lexical")),
        ({"mode": "semantic", "filters": {"filters": VERSION}}, PortalQuery("semantic", VERSION)),
        (
            {"filters": {"filters": VERSION, "fq": ["product:rhel"]}},
            PortalQuery("hybrid", VERSION, {"fq": ["product:rhel"]}),
        ),
        ({"filters": {"fq": "product:rhel"}}, PortalQuery("hybrid", None, {"fq": "product:rhel"})),
        ({"fq": ["product:rhel"]}, PortalQuery("hybrid", None, {"fq": ["product:rhel"]}, legacy=True)),
        (VERSION, PortalQuery("hybrid", VERSION, {}, legacy=True)),
        ({"filters": VERSION}, PortalQuery("hybrid", VERSION)),
    ],
)
def test_forms(solr: Any, expected: PortalQuery) -> None:
    assert portal_query(solr) == expected


@pytest.mark.parametrize(
    ("solr", "cause"),
    [
        ({"mode": "hybrid", "fq": ["a:b"]}, "solr has unknown keys: fq; it takes mode and filters."),
        ({"mode": "fuzzy"}, "solr.mode is one of semantic, hybrid, lexical."),
        ({"mode": ["hybrid"]}, "solr.mode is one of"),
        ({"filters": ["fq"]}, "solr.filters is an object."),
    ],
)
def test_other_shapes_are_unprocessable(solr: Any, cause: str) -> None:
    with pytest.raises(Unprocessable) as error:
        portal_query(solr)
    assert cause in error.value.cause


@pytest.mark.parametrize(
    "name", ["qt", "shards", "stream.url", "stream.body", "wt", "collection", "q", "rq", "fl", "json", ""]
)
def test_other_parameters_are_refused_by_name(name: str) -> None:
    with pytest.raises(BadRequest) as error:
        portal_query({"filters": {name: "x"}})
    assert f"'{name}' is not accepted" in error.value.cause


def test_a_wrong_filter_is_refused_before_anything_is_searched() -> None:
    with pytest.raises(BadRequest, match="one of eq, ne"):
        portal_query({"filters": {"filters": {"type": "near"}}})


def test_queries_are_passed_on_as_they_are() -> None:
    queries = ["product:(*openshift* OR *rhel*)", "-version:4.1*"]
    assert solr_parameters({"fq": queries, "bq": "title:etcd^2"}) == [
        ("fq", queries[0]),
        ("fq", queries[1]),
        ("bq", "title:etcd^2"),
    ]


@pytest.mark.parametrize(
    "query",
    [
        "{!join from=id to=id fromIndex=secrets}*:*",
        "product:rhel AND {!xmlparser v='<x/>'}",
        '_query_:"{!func}sum(1)"',
        '\\_query\\_:"{\\!func}1"',
        'x:y OR _val_:"sum(1)"',
        'title:"{\\!func}"',
        'title:"\\\\{\\\\!func}"',
        "\\u005fquery_:1",
    ],
)
@pytest.mark.parametrize("name", ["fq", "bq"])
def test_queries_that_start_another_parser_are_refused(name: str, query: str) -> None:
    with pytest.raises(BadRequest, match=f"Solr parameter '{name}' holds a query of another kind"):
        portal_query({"filters": {name: [query]}})


@pytest.mark.parametrize(
    ("value", "cause"),
    [
        ({"a": 1}, "is a query or a list of queries"),
        ([1], "is a query or a list of queries"),
        (None, "is a query or a list of queries"),
        ("x" * 2001, "longer than 2000"),
        (["a:b"] * 21, "more than 20"),
    ],
)
def test_wrong_queries_are_refused(value: Any, cause: str) -> None:
    with pytest.raises(BadRequest) as error:
        solr_parameters({"fq": value})
    assert cause in error.value.cause
