"""The elements of a docutils tree as blocks of plain text."""

import re
from collections.abc import Callable, Iterable, Sequence
from typing import Any

_ERROR = 3
_ADMONITIONS = frozenset(
    {"attention", "caution", "danger", "error", "hint", "important", "note", "tip", "warning"}
)
_VERBATIM = frozenset({"literal_block", "doctest_block", "math_block"})
_UNSEEN = frozenset(
    {
        *("comment", "target", "substitution_definition", "pending", "meta", "raw", "decoration", "colspec"),
        *("label", "generated"),
    }
)


class BlockWriter:
    """Writes the elements of one document.

    `unread` turns the source of a directive that docutils did not take into text.
    """

    def __init__(self, document: Any, unread: Callable[[str], str]) -> None:
        self._document = document
        self._unread = unread

    def blocks(self, node: Any) -> str:
        """The elements inside a node, with blank lines between them."""
        return "\n\n".join(text for child in node.children if (text := self.block(child)))

    def block(self, node: Any) -> str:
        """One element; empty for what a reader does not see."""
        name = node.tagname
        if name in _UNSEEN:
            return ""
        if name in _VERBATIM:
            return _fenced(node.astext(), self._language(node))
        if name in _ADMONITIONS:
            return f"{name.capitalize()}: {self.blocks(node)}".strip(": ")
        match name:
            case "paragraph" | "title" | "subtitle" | "rubric" | "caption" | "attribution" | "term":
                return self.inline(node).strip()
            case "bullet_list" | "enumerated_list":
                return self._list(node)
            case "definition_list":
                return "\n".join(self._definition(item) for item in node.children)
            case "field_list" | "docinfo" | "option_list":
                return "\n".join(line for item in node.children if (line := self._field(item)))
            case "line_block":
                return "\n".join(self._verse(node, 0))
            case "table":
                return self._table(node)
            case "image":
                return str(node.get("alt", ""))
            case "footnote" | "citation":
                label = node.children[0].astext() if node.children else ""
                return f"[{label}] {self.blocks(node)}"
            case "system_message":
                return self._message(node)
            case "reference" | "problematic" | "inline" | "literal":
                return self.inline(node)
        return self.blocks(node)

    def inline(self, node: Any) -> str:
        """The text of an element without its markup; literals stand between backquotes."""
        parts: list[str] = []
        for child in node.children:
            match child.tagname:
                case "#text":
                    parts.append(child.astext())
                case "literal":
                    parts.append(f"`{child.astext()}`")
                case "image":
                    parts.append(str(child.get("alt", "")))
                case "substitution_reference":
                    parts.append(self._substituted(child))
                case "footnote_reference" | "citation_reference":
                    parts.append(f"[{child.astext()}]")
                case "raw" | "target" | "system_message" if not child.children or child.tagname == "raw":
                    pass
                case _:
                    parts.append(self.inline(child))
        return "".join(parts)

    def _substituted(self, reference: Any) -> str:
        definition = self._document.substitution_defs.get(reference.get("refname"))
        shown = definition if definition is not None else reference
        # Not resolved again: a definition may name itself.
        return str(shown.astext() or next((part.get("alt", "") for part in shown.children), ""))

    def _language(self, node: Any) -> str:
        if node.tagname == "math_block":
            return "math"
        return next((name for name in node.get("classes", ()) if name != "code"), "")

    def _list(self, node: Any) -> str:
        number = node.get("start", 1) if node.tagname == "enumerated_list" else None
        lines: list[str] = []
        for item in node.children:
            marker = "- " if number is None else f"{number}. "
            number = None if number is None else number + 1
            lines.append(marker + _indented(self._item(item), "  "))
        return "\n".join(lines)

    def _item(self, item: Any) -> str:
        """A list directly below its paragraph needs no blank line before it."""
        text = ""
        for child in item.children:
            part = self.block(child)
            tight = child.tagname.endswith("_list")
            text += ("\n" if tight else "\n\n") + part if text and part else part
        return text

    def _definition(self, item: Any) -> str:
        terms = " : ".join(
            self.inline(child) for child in item.children if child.tagname in ("term", "classifier")
        )
        bodies = [self.blocks(child) for child in item.children if child.tagname == "definition"]
        return "\n".join(["", terms, *("  " + _indented(body, "  ") for body in bodies if body)]).lstrip("\n")

    def _field(self, item: Any) -> str:
        if len(item.children) < 2:
            return f"{item.tagname}: {self.inline(item)}"
        body = self.blocks(item.children[1])
        name = " ".join(item.children[0].astext().split())
        return f"{name}: {_indented(body, '  ')}" if body else ""

    def _verse(self, node: Any, depth: int) -> Iterable[str]:
        for child in node.children:
            if child.tagname == "line_block":
                yield from self._verse(child, depth + 1)
            else:
                yield "  " * depth + self.inline(child)

    def _table(self, table: Any) -> str:
        """A line for each row, the cells set apart by bars; a rule below the head."""
        lines: list[str] = []
        for title in (child for child in table.children if child.tagname == "title"):
            lines += [self.inline(title), ""]
        for group in (child for child in table.children if child.tagname == "tgroup"):
            for part in group.children:
                rows = [self._row(row) for row in part.children]
                lines += [" | ".join(row).strip() for row in rows if any(row)]
                if part.tagname == "thead" and rows:
                    lines.append(" | ".join("---" for _ in rows[-1]))
        return "\n".join(lines)

    def _row(self, row: Any) -> Sequence[str]:
        return [" ".join(self.blocks(entry).split()) for entry in row.children]

    def _message(self, message: Any) -> str:
        """What docutils could not place; a warning has only repeated the text."""
        source = next((child.astext() for child in message.children if child.tagname == "literal_block"), "")
        if source.lstrip().startswith(".. "):
            return self._unread(dedented(source))
        return source if message.get("level", 0) >= _ERROR else ""


def dedented(source: str) -> str:
    """The source without the indentation of its first line."""
    indent = len(source) - len(source.lstrip(" "))
    return "\n".join(line[indent:] if not line[:indent].strip() else line for line in source.split("\n"))


def _indented(text: str, indent: str) -> str:
    return text.replace("\n", "\n" + indent)


def _fenced(text: str, language: str) -> str:
    longest = max((len(run) for run in re.findall("`{3,}", text)), default=2)
    fence = "`" * (longest + 1)
    return f"{fence}{language}\n{text}\n{fence}"
