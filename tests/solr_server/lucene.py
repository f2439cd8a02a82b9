"""The part of Lucene's query language that filters need, with Lucene's own rules for AND, OR and NOT."""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any

type Matches = Callable[[Mapping[str, Any]], bool]

_TOKEN = re.compile(
    r"""\s*(?:
        (?P<operator>&&|\|\||(?:AND|OR|NOT)(?=[\s(]))
      | (?P<mark>[()+\-!])
      | (?P<field>(?:\\.|[\w.*])+):
      | (?P<phrase>"(?:\\.|[^"\\])*")
      | (?P<range>[\[{](?:"(?:\\.|[^"\\])*"|[^\s"\]}]+)\s+TO\s+(?:"(?:\\.|[^"\\])*"|[^\s"\]}]+)[\]}])
      | (?P<term>(?:\\.|[^\s()"\[\]{}:^+!\\]|(?<=\S)[+!])+)
      | (?P<boost>\^[\d.]+)
    )""",
    re.VERBOSE,
)
_FULL_TEXT = ("chunk", "title")


class LuceneSyntaxError(Exception):
    pass


def parse(text: str, fields: frozenset[str]) -> Matches:
    """Raises LuceneSyntaxError for what is not a query, or names a field that is not in `fields`."""
    return parse_boosted(text, fields)[0]


def parse_boosted(text: str, fields: frozenset[str]) -> tuple[Matches, float]:
    parser = _Parser(text, fields)
    matches = parser.clauses(None, top=True)
    if parser.tokens:
        raise LuceneSyntaxError(f"Cannot parse '{text}'")
    return matches, parser.boost


@dataclass
class _Clause:
    occurs: str  # must, should, must_not
    matches: Matches


class _Parser:
    def __init__(self, text: str, fields: frozenset[str]) -> None:
        self.text = text
        self.fields = fields
        self.boost = 1.0
        self.tokens = self._tokens()

    def _tokens(self) -> list[tuple[str, str]]:
        tokens: list[tuple[str, str]] = []
        position = 0
        rest = self.text.rstrip()
        while position < len(rest):
            found = _TOKEN.match(rest, position)
            if found is None or found.lastgroup is None:
                raise LuceneSyntaxError(f"Cannot parse '{self.text}' at {position}")
            tokens.append((found.lastgroup, found[found.lastgroup]))
            position = found.end()
        return tokens

    def clauses(self, field: str | None, *, top: bool = False) -> Matches:
        """Clauses up to a closing parenthesis. AND makes both its sides compulsory; OR and nothing make neither so."""
        clauses: list[_Clause] = []
        joined = ""
        while self.tokens and self.tokens[0] != ("mark", ")"):
            kind, value = self.tokens[0]
            if kind == "operator" and value != "NOT":
                self.tokens.pop(0)
                joined = "AND" if value in ("AND", "&&") else "OR"
                if joined == "AND" and clauses and clauses[-1].occurs == "should":
                    clauses[-1].occurs = "must"
                continue
            occurs = "must" if joined == "AND" else "should"
            joined = ""
            if (kind, value) in (("mark", "-"), ("mark", "!"), ("operator", "NOT")):
                self.tokens.pop(0)
                occurs = "must_not"
            elif (kind, value) == ("mark", "+"):
                self.tokens.pop(0)
                occurs = "must"
            clauses.append(_Clause(occurs, self._clause(field)))
        if not clauses:
            raise LuceneSyntaxError(f"Cannot parse '{self.text}'")
        return _boolean(clauses, top=top)

    def _clause(self, field: str | None) -> Matches:
        kind, value = self._next()
        if kind == "field":
            field = _unescaped(value)
            if field != "*" and field not in self.fields:
                raise LuceneSyntaxError(f"undefined field {field}")
            kind, value = self._next()
        if (kind, value) == ("mark", "("):
            inner = self.clauses(field)
            if self._next() != ("mark", ")"):
                raise LuceneSyntaxError(f"Cannot parse '{self.text}'")
            return inner
        while self.tokens and self.tokens[0][0] == "boost":
            self.boost = float(self.tokens.pop(0)[1][1:])
        if (field, value) == ("*", "*"):
            return lambda document: True
        if field is None:
            raise LuceneSyntaxError(
                "no field name specified in query and no default specified via 'df' param"
            )
        if kind == "phrase":
            return _equals(field, _unescaped(value[1:-1]))
        if kind == "range":
            return _between(field, value)
        if kind == "term":
            return _like(field, value)
        raise LuceneSyntaxError(f"Cannot parse '{self.text}'")

    def _next(self) -> tuple[str, str]:
        if not self.tokens:
            raise LuceneSyntaxError(f"Cannot parse '{self.text}'")
        return self.tokens.pop(0)


def _boolean(clauses: list[_Clause], *, top: bool) -> Matches:
    must = [clause.matches for clause in clauses if clause.occurs == "must"]
    should = [clause.matches for clause in clauses if clause.occurs == "should"]
    must_not = [clause.matches for clause in clauses if clause.occurs == "must_not"]

    def matches(document: Mapping[str, Any]) -> bool:
        if any(clause(document) for clause in must_not) or not all(clause(document) for clause in must):
            return False
        if must:
            return True
        # Only at the top does Solr add "all documents" to a query that does nothing but exclude.
        return any(clause(document) for clause in should) if should else top

    return matches


def _unescaped(text: str) -> str:
    return re.sub(r"\\(.)", r"\1", text, flags=re.DOTALL)


def values_of(document: Mapping[str, Any], field: str) -> list[str]:
    value = document.get(field)
    values = value if isinstance(value, list) else [] if value is None else [value]
    return [str(item).lower() if isinstance(item, bool) else str(item) for item in values]


def _equals(field: str, text: str) -> Matches:
    if field not in _FULL_TEXT:
        return lambda document: text in values_of(document, field)
    words = f" {' '.join(re.findall(r'\w+', text.lower()))} "
    return lambda document: any(
        words in f" {' '.join(re.findall(r'\w+', value.lower()))} " for value in values_of(document, field)
    )


def _like(field: str, pattern: str) -> Matches:
    if "*" not in pattern and "?" not in pattern:
        return _equals(field, _unescaped(pattern))
    return lambda document: any(fnmatchcase(value, pattern) for value in values_of(document, field))


def _between(field: str, text: str) -> Matches:
    low, high = re.split(r"\s+TO\s+", text[1:-1])
    low, high = (_unescaped(end[1:-1]) if end.startswith('"') else end for end in (low, high))
    above = text[0] == "["
    below = text[-1] == "]"

    def matches(document: Mapping[str, Any]) -> bool:
        value = document.get(field)
        if value is None:
            return False
        number = isinstance(value, int | float)
        try:
            least = None if low == "*" else float(low) if number else low
            most = None if high == "*" else float(high) if number else high
        except ValueError as error:
            raise LuceneSyntaxError(f"Invalid Number: {error}") from error
        return (least is None or value > least or (above and value == least)) and (
            most is None or value < most or (below and value == most)
        )

    return matches
