"""Data made of mappings, lists and values, and how it reads as a document with its keys as headings."""

from collections.abc import Iterator
from dataclasses import dataclass, field

from lightspeed.documents.formats.format import Content, FormatError
from lightspeed.documents.formats.outline import Outline

MOST_NESTED = 100

_HEADING_LEVELS = 4
_SMALL = 300  # characters that stand better as a few lines than below a heading of their own
_SHORT_LINE = 200
_GROWTH = 20  # references may make a text this many times longer than its file
_ALWAYS_ALLOWED = 1_000_000
_NAMES = ("title", "name", "id", "key")
URL_KEYS = ("url", "canonical_url", "reference_url", "docs_url")


@dataclass(slots=True, eq=False)
class Branch:
    """A mapping or a list: `keys` is None in a list.

    `size` counts the characters of everything in it, `height` the levels; a branch may stand in several
    others.
    """

    keys: list[str] | None
    values: "list[Branch | str]" = field(default_factory=list)
    size: int = 0
    height: int = 1

    def close(self) -> None:
        """Count size and height, when all values are there and closed. Raises FormatError if too high."""
        self.height = 1 + max((value.height for value in self.values if isinstance(value, Branch)), default=0)
        if self.height > MOST_NESTED:
            raise FormatError(f"nested more than {MOST_NESTED} levels deep")
        self.size = sum(map(_size, self.values)) + sum(map(len, self.keys or ())) + 2 * len(self.values)

    def items(self) -> "Iterator[tuple[str, Branch | str]]":
        """Keys and values; the items of a list have their name or their number as key.

        What stands under the merge key of YAML is given in its place.
        """
        if self.keys is None:
            yield from ((_label(value, number), value) for number, value in enumerate(self.values, 1))
            return
        for key, value in zip(self.keys, self.values, strict=True):
            if key == "<<" and isinstance(value, Branch):
                for merged in [value] if value.keys is not None else value.values:
                    yield from merged.items() if isinstance(merged, Branch) else [(key, merged)]
            else:
                yield key, value

    def first(self, *keys: str) -> str:
        """The first text that stands under one of the keys, or an empty one."""
        found = dict(zip(reversed(self.keys or ()), reversed(self.values), strict=False))
        return next((value for key in keys if isinstance(value := found.get(key), str) and value), "")


Node = Branch | str


def content_of(roots: list[Node], data: bytes) -> Content:
    """The document that one or more trees make. Raises FormatError when references make it endless."""
    if sum(map(_size, roots)) > max(_ALWAYS_ALLOWED, _GROWTH * len(data)):
        raise FormatError("references make too much text of it")
    outline = Outline()
    for number, root in enumerate(roots, 1):
        if len(roots) > 1:
            outline.heading(1, _label(root, number))
        _write(root, outline, 2 if len(roots) > 1 else 1)
    head = roots[0] if len(roots) == 1 else ""
    title = head.first("title") if isinstance(head, Branch) else ""
    address = head.first(*URL_KEYS) if isinstance(head, Branch) else ""
    return Content(
        outline.sections(),
        title=" ".join(title.split()) or None,
        url=address if address.startswith(("https://", "http://")) else None,
    )


def _write(node: Node, outline: Outline, level: int) -> None:
    if isinstance(node, str):
        outline.text(node)
        return
    large: list[tuple[str, Branch]] = []
    lines: list[str] = []
    plain_list = node.keys is None and all(isinstance(value, str) for value in node.values)
    for key, value in node.items():
        if isinstance(value, Branch) and value.size > _SMALL and level <= _HEADING_LEVELS:
            large.append((key, value))
        elif plain_list or isinstance(value, Branch) or _is_short(value):
            lines += _lines(None if plain_list else key, value)
        else:
            outline.text("\n".join(lines))
            outline.text(f"{key}:\n\n{value}")
            lines = []
    outline.text("\n".join(lines))
    # After the values of the mapping itself, which would else seem to belong to the last of them.
    for key, value in large:
        outline.heading(level, " ".join(key.split()) or "-")
        _write(value, outline, level + 1)


def _lines(key: str | None, value: Node) -> list[str]:
    """A value as lines, its parts indented below it."""
    start = "- " if key is None else f"{key}:"
    if isinstance(value, str):
        first, *rest = value.strip().split("\n")
        head = f"{start}{first}" if key is None else f"{start} {first}"
        return [head.rstrip(), *(f"  {line}".rstrip() for line in rest)]
    if value.keys is None and all(isinstance(part, str) and _is_short(part) for part in value.values):
        joined = ", ".join(part for part in value.values if isinstance(part, str))
        if len(joined) <= _SHORT_LINE:
            return [f"{start.rstrip()} {joined}".rstrip()]
    inside = [
        line
        for name, part in (value.items() if value.keys is not None else ((None, v) for v in value.values))
        for line in _lines(name, part)
    ]
    return [start.rstrip(), *(f"  {line}" for line in inside)]


def _label(value: Node, number: int) -> str:
    name = value.first(*_NAMES) if isinstance(value, Branch) else ""
    return " ".join(name.split())[:_SHORT_LINE] or f"item {number}"


def _is_short(text: str) -> bool:
    return len(text) <= _SHORT_LINE and "\n" not in text.strip()


def _size(node: Node) -> int:
    return node.size if isinstance(node, Branch) else len(node)
