"""reStructuredText, as docutils reads it: sections, lists, tables and code, no files and no raw markup."""

import re
import threading
from collections.abc import Callable
from textwrap import dedent
from typing import Any

from lightspeed.documents.formats.encoding import decode
from lightspeed.documents.formats.format import Content, Format, FormatError
from lightspeed.documents.formats.outline import Outline
from lightspeed.documents.formats.restructured_blocks import BlockWriter

# docutils keeps the roles and the language of the document at hand in its modules.
_DOCUTILS = threading.Lock()
# docutils reads 50 to 100 kB a second, and a page of documentation has 20 kB.
_MOST_BYTES = 4 * 1024 * 1024
# For each mark that is never closed docutils searches the rest of the paragraph.
_MOST_UNCLOSED = 1000
_LONGEST_LINE = 10_000
_MOST_NESTED = 8
_WARNING = 2
_DIRECTIVE = re.compile(r"\.\.[ ]+(?:\|[^|\n]+\|[ ]+)?([\w:.+-]+)[ ]?::(?:[ ]+(.*))?\Z")
_OPTION = re.compile(r"\s*:[\w -]+:(?:\s|\Z)")
_CODE = frozenset(
    {"code", "code-block", "sourcecode", "highlight", "prompt", "ipython", "doctest", "testcode"}
)
# Markup of another kind, navigation, settings of a page, and what stands in other files.
_SILENT = frozenset(
    {
        *("include", "literalinclude", "raw", "toctree", "contents", "index", "meta", "bibliography"),
        *("default-domain", "currentmodule", "module", "py:module", "py:currentmodule", "highlightlang"),
        *("automodule", "autoclass", "autofunction", "autosummary", "tabularcolumns", "testsetup"),
    }
)
_LABELS = {
    "versionadded": "New in version",
    "versionchanged": "Changed in version",
    "versionremoved": "Removed in version",
    "deprecated": "Deprecated since version",
    "seealso": "See also",
}
_TITLE_AND_TARGET = re.compile(r"(.*\S)\s*<[^<>]+>\Z", re.DOTALL)
_LITERAL_ROLES = frozenset(
    {
        *("code", "literal", "file", "samp", "command", "program", "option", "envvar", "kbd", "math"),
        *("func", "class", "meth", "mod", "attr", "data", "exc", "obj", "const"),
    }
)


def read(data: bytes) -> Content:
    if len(data) > _MOST_BYTES:
        raise FormatError(f"{len(data)} bytes, more than the limit of {_MOST_BYTES} for reStructuredText")
    text = decode(data)
    for number, line in enumerate(text.split("\n"), 1):
        if len(line) > _LONGEST_LINE:
            raise FormatError(f"line {number} has more than {_LONGEST_LINE} characters")
    outline = Outline()
    with _DOCUTILS:
        try:
            _Reader(outline).write(text)
        except RecursionError:
            raise FormatError("reStructuredText nested too deep") from None
    return Content(outline.sections(), title=outline.first_heading)


class _Reader:
    """Writes a source into an outline, and what docutils does not know with it."""

    def __init__(self, outline: Outline) -> None:
        self._outline = outline
        self._unclosed = 0

    def write(self, text: str) -> None:
        document = _parsed(text, self._notice)
        self._sections(document, BlockWriter(document, self._unread), 0)

    def _sections(self, node: Any, blocks: BlockWriter, level: int) -> None:
        for child in node.children:
            if child.tagname == "section":
                self._sections(child, blocks, level + 1)
            elif child.tagname == "title" and level:
                self._outline.heading(level, " ".join(blocks.inline(child).split()))
            else:
                self._outline.text(blocks.block(child))

    def _unread(self, text: str, depth: int = 1) -> str:
        """The readable text of a directive that docutils does not know or refuses."""
        first, _, rest = text.partition("\n")
        found = _DIRECTIVE.match(first.strip())
        if found is None:
            return text
        name, argument = found[1].lower(), (found[2] or "").strip()
        if name in _SILENT:
            return ""
        lines = rest.split("\n")
        while lines and _OPTION.match(lines[0]):
            lines.pop(0)
        body = dedent("\n".join(lines)).strip("\n")
        if name in _CODE:
            return f"```{argument}\n{body}\n```" if body.strip() else ""
        label = _LABELS.get(name, "")
        heading = " ".join(part for part in (label, argument) if part)
        return "\n\n".join(part for part in (heading, self._nested(body, depth)) if part)

    def _nested(self, body: str, depth: int) -> str:
        if not body.strip() or depth >= _MOST_NESTED:
            return body
        document = _parsed(body, self._notice)
        return BlockWriter(document, lambda text: self._unread(text, depth + 1)).blocks(document)

    def _notice(self, message: Any) -> None:
        if message.get("level") == _WARNING and "without end-string" in message.astext():
            self._unclosed += 1
            if self._unclosed > _MOST_UNCLOSED:
                raise FormatError(f"more than {_MOST_UNCLOSED} marks that are never closed")


def _parsed(text: str, notice: Callable[[Any], None]) -> Any:
    from docutils.frontend import get_default_settings  # type: ignore[import-untyped]
    from docutils.parsers.rst import Parser, roles  # type: ignore[import-untyped]
    from docutils.utils import new_document  # type: ignore[import-untyped]

    settings = get_default_settings(Parser)
    settings.file_insertion_enabled = False
    settings.raw_enabled = False
    settings.warning_stream = False
    settings.report_level = settings.halt_level = 5
    settings.syntax_highlight = "none"
    settings.line_length_limit = _LONGEST_LINE * settings.tab_width
    document = new_document("document", settings)
    document.reporter.attach_observer(notice)
    try:
        Parser(inliner=_inliner()).parse(text, document)
    finally:
        # A document can define roles, and docutils would keep them.
        roles._roles.clear()
    return document


def _inliner() -> Any:
    """An inliner that takes every role, known or not, as the text that it shows."""
    from docutils.parsers.rst.states import Inliner  # type: ignore[import-untyped]

    inliner = Inliner()
    # Set and not inherited: docutils looks for its patterns in the class itself.
    inliner.interpreted = _shown
    return inliner


def _shown(source: str, text: str, role: str | None, line: int) -> tuple[list[Any], list[Any]]:
    from docutils import nodes  # type: ignore[import-untyped]

    kind = (role or "").rpartition(":")[2].lower()
    shown = nodes.unescape(text)
    if titled := _TITLE_AND_TARGET.match(shown):
        shown = titled[1]
    elif shown[:1] in ("~", "!"):
        shown = shown[1:]
    make = nodes.literal if kind in _LITERAL_ROLES else nodes.inline
    return [] if kind == "raw" else [make(source, shown)], []


FORMAT = Format(suffixes=frozenset({".rst", ".rest"}), read=read)
