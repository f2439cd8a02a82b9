"""Roles from claims."""

from typing import Any

import pytest

from lightspeed.configuration.authentication import JwtRoleRule
from lightspeed.identity.role_rules import RoleRules

CLAIMS = {"team": "x", "g": ["a", "b"], "n": 3, "yes": True, "one": 1, "o": {"p": [{"q": "r"}]}, "empty": []}


def roles(*rules: dict[str, Any], claims: dict[str, Any] = CLAIMS) -> frozenset[str]:
    base = {"roles": ["r"]}
    return RoleRules([JwtRoleRule.model_validate(base | rule) for rule in rules]).roles(claims)


@pytest.mark.parametrize(
    ("path", "operator", "value", "fits"),
    [
        ("$.team", "equals", ["x"], True),
        ("$.team", "equals", "x", False),
        ("$.g", "equals", [["a", "b"]], True),
        ("$.g", "equals", ["a", "b"], False),
        ("$.g[*]", "equals", ["a", "b"], True),
        ("$.missing", "equals", [], True),
        ("$.team", "equals", [], False),
        ("$.yes", "equals", [True], True),
        ("$.yes", "equals", [1], False),
        ("$.one", "equals", [True], False),
        ("$.one", "equals", [1], True),
        ("$.o", "equals", [{"p": [{"q": "r"}]}], True),
        ("$.o.p[*].q", "equals", ["r"], True),
        ("$.g[*]", "contains", "a", True),
        ("$.g", "contains", "a", False),
        ("$.g", "contains", ["a", "b"], True),
        ("$.missing", "contains", "a", False),
        ("$.n", "contains", 3, True),
        ("$.team", "in", [["x"], ["y"]], True),
        ("$.team", "in", ["x", "y"], False),
        ("$.missing", "in", [[]], True),
        ("$.team", "match", "^x", True),
        ("$.team", "match", "y", False),
        ("$.g[*]", "match", "^b$", True),
        ("$.g", "match", "a", False),
        ("$.n", "match", "3", False),
        ("$.missing", "match", "", False),
        ("$.team[0].deeper", "contains", "x", False),
    ],
)
def test_operators(path: str, operator: str, value: Any, fits: bool) -> None:
    rule = {"jsonpath": path, "operator": operator, "value": value}
    assert roles(rule) == ({"r"} if fits else set())


@pytest.mark.parametrize(
    ("path", "operator", "value", "fits"),
    [
        ("$.team", "equals", ["x"], False),
        ("$.team", "equals", ["y"], True),
        ("$.g[*]", "contains", "a", False),
        ("$.g[*]", "contains", "z", True),
        ("$.team", "in", [["y"]], True),
        ("$.team", "match", "^y", True),
        # What the token does not say fits no rule.
        ("$.missing", "equals", ["y"], False),
        ("$.missing", "contains", "z", False),
        ("$.missing", "in", [["y"]], False),
        ("$.missing", "match", "y", False),
        ("$.empty[*]", "contains", "z", False),
    ],
)
def test_negated(path: str, operator: str, value: Any, fits: bool) -> None:
    rule = {"jsonpath": path, "operator": operator, "value": value, "negate": True}
    assert roles(rule) == ({"r"} if fits else set())


def test_the_roles_of_all_rules_that_fit() -> None:
    fitting = {"jsonpath": "$.team", "operator": "match", "value": "x"}
    other = fitting | {"value": "y", "roles": ["never"]}
    assert roles(fitting | {"roles": ["a", "b"]}, other, fitting | {"roles": ["b", "c"]}) == {"a", "b", "c"}
    assert roles() == frozenset()


def deep(levels: int) -> dict[str, Any]:
    value: dict[str, Any] = {}
    for _ in range(levels):
        value = {"a": value}
    return value


@pytest.mark.parametrize(
    "claims", [{}, {"a": None}, {"a": 5}, {"a": "text"}, {"a": [[], {}]}, {"a": {"b": None}}, deep(900)]
)
@pytest.mark.parametrize(
    "path", ["$.a", "$.a[0]", "$.a[*].b", "$..b", "$.a.b[1:2]", "$.a.*", "$.a.`parent`.b", "$.a[0].b"]
)
def test_claims_of_any_shape_raise_nothing(claims: dict[str, Any], path: str) -> None:
    rule = {"jsonpath": path, "operator": "contains", "value": "no such value"}
    assert roles(rule, claims=claims) == frozenset()
