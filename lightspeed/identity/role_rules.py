"""Roles that the claims of a token give."""

import re
from collections.abc import Callable, Iterable
from typing import Any

from jsonpath_ng.parser import parse

from lightspeed.configuration.authentication import JsonPathOperator, JwtRoleRule

type _Test = Callable[[list[Any]], bool]


class RoleRules:
    """The rules of the configuration, compiled once."""

    def __init__(self, rules: Iterable[JwtRoleRule]) -> None:
        self._rules = [(rule, parse(rule.jsonpath), _test(rule)) for rule in rules]

    def roles(self, claims: dict[str, Any]) -> frozenset[str]:
        """The roles of all rules that fit the claims."""
        return frozenset(
            role
            for rule, path, test in self._rules
            if _fits(rule, _found(path, claims), test)
            for role in rule.roles
        )


def _fits(rule: JwtRoleRule, found: list[Any], test: _Test) -> bool:
    if not rule.negate:
        return test(found)
    # Nobody gets a role for what a token does not say.
    return bool(found) and not test(found)


def _found(path: Any, claims: dict[str, Any]) -> list[Any]:
    try:
        return [match.value for match in path.find(claims)]
    except (ArithmeticError, AttributeError, LookupError, RecursionError, TypeError, ValueError):
        return []  # The claims have another shape than the path expects.


def _test(rule: JwtRoleRule) -> _Test:
    value = rule.value
    match rule.operator:
        case JsonPathOperator.EQUALS:
            return lambda found: _same(found, value)
        case JsonPathOperator.CONTAINS:
            return lambda found: any(_same(item, value) for item in found)
        case JsonPathOperator.IN:
            return lambda found: any(_same(found, item) for item in value)
        case JsonPathOperator.MATCH:
            pattern = re.compile(value)
            return lambda found: any(isinstance(item, str) and pattern.search(item) for item in found)


def _same(one: Any, other: Any) -> bool:
    """Equality of JSON: to Python, true is 1 as well."""
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(_same, one, other))
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(_same(one[key], other[key]) for key in one)
    return isinstance(one, bool) == isinstance(other, bool) and bool(one == other)
