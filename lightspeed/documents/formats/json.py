"""JSON, and JSON lines: keys become headings, values stay as they are written."""

import json
from typing import Any

from lightspeed.documents.formats.encoding import decode
from lightspeed.documents.formats.format import Content, Format, FormatError
from lightspeed.documents.formats.tree import MOST_NESTED, Branch, Node, content_of

# Numbers are kept as written: 1.10 is a version as often as a number, and some have thousands of digits.
_DECODER = json.JSONDecoder(
    object_pairs_hook=lambda pairs: _Pairs(pairs), parse_int=str, parse_float=str, parse_constant=str
)
_WORDS: dict[Any, str] = {True: "true", False: "false", None: ""}


class _Pairs(list[tuple[str, Any]]):
    """An object with its keys in order, each as often as it is written."""


def read(data: bytes) -> Content:
    text = decode(data).strip().removeprefix("\ufeff")
    try:
        return content_of([_loaded(text)], data)
    except json.JSONDecodeError as error:
        lines = _json_lines(text)
        if lines is None:
            raise FormatError(f"broken JSON: {error.msg} in line {error.lineno}") from error
        return content_of(lines, data)


def read_lines(data: bytes) -> Content:
    roots: list[Node] = []
    for number, line in enumerate(decode(data).split("\n"), 1):
        if line.strip():
            try:
                roots.append(_loaded(line))
            except json.JSONDecodeError as error:
                raise FormatError(f"broken JSON: {error.msg} in line {number}") from error
    return content_of(roots, data)


def _loaded(text: str) -> Node:
    try:
        return _node(_DECODER.decode(text))
    except RecursionError:
        raise FormatError(f"nested more than {MOST_NESTED} levels deep") from None


def _json_lines(text: str) -> list[Node] | None:
    """Some tools give JSON lines the suffix of JSON."""
    try:
        lines = [_loaded(line) for line in text.split("\n") if line.strip()]
    except json.JSONDecodeError:
        return None
    return lines if len(lines) > 1 and all(isinstance(line, Branch) for line in lines) else None


def _node(value: Any) -> Node:
    if isinstance(value, str):
        return value
    if not isinstance(value, list):
        return _WORDS[value]
    if isinstance(value, _Pairs):
        branch = Branch([key for key, _ in value], [_node(part) for _, part in value])
    else:
        branch = Branch(None, [_node(part) for part in value])
    branch.close()
    return branch


FORMAT = Format(suffixes=frozenset({".json"}), read=read)
