"""Tables of AsciiDoc as lines, the cells set apart by bars."""

import csv
import re
from collections.abc import Callable, Iterator, Sequence

_CELL = re.compile(
    r"(?:(?:^|(?<=\s))(?:(\d{1,2})(?:\.\d{1,2})?([+*])|\.\d{1,2}\+)?(?:[<^>](?:\.[<^>])?|\.[<^>])?[aehlmsdv]?)?"
    r"(?<!\\)\|",
    re.MULTILINE,
)
_COLUMNS = re.compile(r'\bcols=(?:"([^"]*)"|([^,\s]+))')
_HEADER = re.compile(r'%[\w%]*header|\b(?:options|opts)="?[^"]*\bheader')
_SEPARATED = re.compile(r'\bformat="?(csv|tsv|dsv)')
_REPEATED = re.compile(r"\s*(\d{1,2})\*")
_DELIMITERS = {"csv": ",", "tsv": "\t", "dsv": ":"}


def table_text(lines: Sequence[str], attributes: str, mark: str, plain: Callable[[str], str]) -> str:
    """The rows between the delimiters. `mark` is the first sign of these, `plain` reads a cell."""
    separated = _SEPARATED.search(attributes)
    if mark in ",:" or separated:
        delimiter = _DELIMITERS[separated[1]] if separated else mark
        rows = list(csv.reader((line for line in lines if line.strip()), delimiter=delimiter))
    else:
        rows = _rows(lines, attributes)
    texts = [[" ".join(plain(cell).split()) for cell in row] for row in rows]
    output = [" | ".join(row).strip() for row in texts]
    if len(texts) > 1 and (_HEADER.search(attributes) or _has_head(lines)):
        output.insert(1, " | ".join("---" for _ in texts[0]))
    return "\n".join(line for line in output if line)


def _has_head(lines: Sequence[str]) -> bool:
    """A first row set apart by a blank line is the head, unless it is told otherwise."""
    return len(lines) > 2 and bool(lines[0].strip()) and not lines[1].strip()


def _rows(lines: Sequence[str], attributes: str) -> list[list[str]]:
    first = next((line for line in lines if line.strip()), "")
    columns = _declared(attributes) or max(1, len(list(_cells(first))))
    cells = list(_cells("\n".join(lines)))
    return [cells[start : start + columns] for start in range(0, len(cells), columns)]


def _cells(text: str) -> Iterator[str]:
    found = list(_CELL.finditer(text))
    ends = [*(cell.start() for cell in found[1:]), len(text)]
    for cell, end in zip(found, ends, strict=False):
        content = text[cell.end() : end].replace("\\|", "|").strip()
        times = int(cell[1]) if cell[1] else 1
        yield content
        # `3*` says the same three times, `3+` is one cell as wide as three.
        yield from [content if cell[2] == "*" else ""] * (times - 1)


def _declared(attributes: str) -> int:
    found = _COLUMNS.search(attributes)
    if found is None:
        return 0
    parts = [part for part in re.split("[,;]", found[1] or found[2] or "") if part.strip()]
    return sum(int(many[1]) if (many := _REPEATED.match(part)) else 1 for part in parts)
