"""AsciiDoc: sections, lists, tables, listings and admonitions. Included files are not read.

No library of Python reads AsciiDoc well, so this reads the blocks that documentation is made of, line by
line. Both sides of a condition (`ifdef`) are kept.
"""

import re
from bisect import bisect_right

from lightspeed.documents.formats.asciidoc_inline import Attributes, alternative_text
from lightspeed.documents.formats.asciidoc_table import table_text
from lightspeed.documents.formats.encoding import decode
from lightspeed.documents.formats.format import Content, Format
from lightspeed.documents.formats.html import write_html
from lightspeed.documents.formats.outline import Outline

_ATTRIBUTE = re.compile(r":(!?[\w][\w-]*!?):(?:\s+(.*))?\Z")
_CONDITION = re.compile(r"(ifdef|ifndef|ifeval|endif)::[^\[\s]*\[(.*)\]\Z")
_INCLUDE = re.compile(r"include::[^\[]*[^\[\s]\[.*\]\Z")
_BLOCK_MACRO = re.compile(r"(image|video|audio|toc)::([^\s\[\]]*)\[(.*)\]\Z")
_BLOCK_ATTRIBUTES = re.compile(r"\[(?:\[[^\]]*\]|(?!\[)(.*))\]\Z")
_BLOCK_TITLE = re.compile(r"\.([^\s.].*)\Z")
_SECTION = re.compile(r"(={1,6}|#{1,6})[ \t]+(\S.*)\Z")
_VERBATIM = re.compile(r"(-{4,}|\.{4,}|\+{4,}|/{4,}|`{3,})([\w+#-]*)\Z")
_COMPOUND = re.compile(r"(?:={4,}|\*{4,}|_{4,}|--)\Z")
_TABLE = re.compile(r"[|,:!]={3,}\Z")
_BREAK = re.compile(r"(?:'{3,}|<{3,}|[-*](?: ?[-*]){2})\Z")
_UNDERLINE = re.compile(r"(==+|--+|~~+|\^\^+|\+\++)\Z")
_UNDERLINES = "=-~^+"
_ITEM = re.compile(r"\s*(\*{1,6}|-|\.{1,6}|\d{1,4}\.|<(?:\d{1,3}|\.)>)[ \t]+(\S.*)\Z")
_TERM = re.compile(r"\s*(\S.{0,300}?)(:{2,4}|;;)(?:[ \t]+(\S.*))?\Z")
_ADMONITIONS = frozenset({"NOTE", "TIP", "IMPORTANT", "WARNING", "CAUTION"})
_CODE_STYLES = frozenset({"source", "listing", "literal"})


def read(data: bytes) -> Content:
    reader = _Reader([line.rstrip() for line in decode(data).split("\n")])
    reader.read()
    return Content(reader.outline.sections(), title=reader.outline.first_heading)


class _Reader:
    """Goes through the lines once and writes blocks into the outline."""

    def __init__(self, lines: list[str]) -> None:
        self.outline = Outline()
        self._lines = lines
        self._next = 0
        self._attributes = Attributes()
        self._block: list[str] = []  # the paragraph or list that is being read
        self._numbers: list[int] = []
        self._in_list = False
        self._attached = False  # the next block belongs to the list item before it
        self._attached_until = ""
        self._style = ""  # what stands in brackets above the next block
        self._title = ""
        self._label = ""
        self._places: dict[str, list[int]] = {}
        for number, line in enumerate(lines):
            if _VERBATIM.match(line) or _TABLE.match(line) or line == "--":
                self._places.setdefault(line, []).append(number)

    def read(self) -> None:
        while self._next < len(self._lines):
            line = self._lines[self._next]
            self._next += 1
            if not line:
                self._blank()
            elif not (self._directive(line) or self._delimited(line)):
                self._text(line)
        self._end_block()

    def _blank(self) -> None:
        following = self._next
        while following < len(self._lines) and not self._lines[following]:
            following += 1
        self._next = following
        after = self._lines[following] if following < len(self._lines) else ""
        if not (self._in_list and (_ITEM.match(after) or _TERM.match(after))):
            self._end_block()

    def _directive(self, line: str) -> bool:
        """Lines that are not text: comments, attributes, conditions, inclusions, and what styles a block."""
        if line.startswith("//") and not line.startswith("///"):
            return True
        if found := _CONDITION.match(line):
            if found[2] and found[1] in ("ifdef", "ifndef"):
                self._text(found[2])
            return True
        if _INCLUDE.match(line) or _BREAK.match(line):
            self._end_block()
            return True
        if found := _BLOCK_MACRO.match(line):
            self._end_block()
            self._emit(self._attributes.plain(alternative_text(found[3])) if found[1] == "image" else "")
            return True
        if found := _BLOCK_ATTRIBUTES.match(line):
            self._end_block()
            self._style = found[1] or self._style
            return True
        if self._block:
            return False
        if found := _ATTRIBUTE.match(line):
            value = found[2] or ""
            while value.endswith("\\") and self._next < len(self._lines):
                value = f"{value[:-1].rstrip()} {self._lines[self._next].strip()}"
                self._next += 1
            self._attributes.set(found[1], value)
            return True
        if found := _BLOCK_TITLE.match(line):
            self._numbers = self._numbers if self._attached else []
            self._title = self._attributes.plain(found[1])
            return True
        return self._heading(line)

    def _heading(self, line: str) -> bool:
        level = 0
        if found := _SECTION.match(line):
            level, text = len(found[1]), found[2].removesuffix(f" {found[1]}")
        elif self._next < len(self._lines) and (under := _UNDERLINE.match(self._lines[self._next])):
            text = line
            if abs(len(line) - len(under[0])) <= 1 and line[:1].isalnum():
                level = _UNDERLINES.index(under[0][0]) + 1
                self._next += 1
        if level:
            self._style = self._title = self._label = self._attached_until = ""
            self._attached = False
            self._numbers = []
            details = self._header() if level == 1 and self.outline.first_heading is None else ""
            self.outline.heading(level, " ".join(self._attributes.plain(text).split()))
            self.outline.text(details)
        return bool(level)

    def _header(self) -> str:
        """The lines below the title of the document: attributes, which the title may name, and authors."""
        details: list[str] = []
        while self._next < len(self._lines) and self._lines[self._next]:
            line = self._lines[self._next]
            self._next += 1
            if not self._directive(line):
                details.append(line)
        return self._attributes.plain("\n".join(details))

    def _delimited(self, line: str) -> bool:
        """Blocks between two equal lines. One that is never closed is read as text."""
        verbatim = _VERBATIM.match(line)
        style = self._style.split(",")[0].split("%")[0].split("#")[0].strip()
        if verbatim or _TABLE.match(line) or (line == "--" and style in _CODE_STYLES):
            mark = verbatim[1] if verbatim else line
            end = self._closing(mark)
            if end is None:
                return False
            self._end_block()
            inside = self._lines[self._next : end]
            self._next = end + 1
            self._take(mark, verbatim[2] if verbatim else "", inside)
            return True
        if _COMPOUND.match(line):
            self._end_block()
            if style in _ADMONITIONS:
                self._label = f"{style}: "
            if self._title:
                self._emit("")
            self._style = ""
            if line == self._attached_until:
                self._attached_until = ""
            elif self._attached and not self._attached_until:
                self._attached_until = line
            return True
        if line == "+":
            self._end_block()
            self._attached = True
            return True
        return False

    def _closing(self, mark: str) -> int | None:
        places = self._places.get(mark, [])
        found = bisect_right(places, self._next - 1)
        return places[found] if found < len(places) else None

    def _take(self, mark: str, language: str, lines: list[str]) -> None:
        if mark.startswith("/"):
            return
        if mark[0] in "|,:!":
            self._emit(table_text(lines, self._style, mark[0], self._attributes.plain))
        elif mark.startswith("+"):
            self._emit("")
            write_html("\n".join(lines), self.outline)
        else:
            self._code(lines, language)

    def _code(self, lines: list[str], language: str = "") -> None:
        parts = [part.strip() for part in self._style.split(",")]
        if (
            not language
            and parts[0].split("%")[0] in ("source", "")
            and len(parts) > 1
            and "=" not in parts[1]
        ):
            language = parts[1]
        text = "\n".join(lines).strip("\n")
        longest = max((len(run) for run in re.findall("`{3,}", text)), default=2)
        fence = "`" * (longest + 1)
        self._emit(f"{fence}{language}\n{text}\n{fence}" if text.strip() else "")

    def _text(self, line: str) -> None:
        """A line of a paragraph or of a list."""
        if not self._block and (self._style.split(",")[0] in _CODE_STYLES or self._is_literal(line)):
            lines = [line]
            while self._next < len(self._lines) and self._lines[self._next]:
                lines.append(self._lines[self._next])
                self._next += 1
            self._code(lines)
        elif found := _ITEM.match(line):
            self._in_list = True
            self._block.append(self._item(found[1]) + found[2])
        elif (found := _TERM.match(line)) and (self._in_list or not self._block):
            self._in_list = True
            self._block.append(found[1])
            if found[3]:
                self._block.append(f"  {found[3]}")
        elif self._in_list and self._block:
            self._block.append(f"  {line.strip()}")
        else:
            self._block.append(line.removeprefix("\\") if line.startswith("\\include::") else line)

    def _is_literal(self, line: str) -> bool:
        return line[0] in " \t" and not _ITEM.match(line) and not _TERM.match(line)

    def _item(self, marker: str) -> str:
        depth = len(marker) if marker[0] in "*." else 1
        indent = "  " * (depth - 1)
        if marker[0] in "*-":
            return f"{indent}- "
        if marker[0] != ".":
            return f"{indent}{marker} "
        del self._numbers[depth:]
        self._numbers += [0] * (depth - len(self._numbers))
        self._numbers[-1] += 1
        return f"{indent}{self._numbers[-1]}. "

    def _end_block(self) -> None:
        if self._block:
            style = self._style.split(",")[0].split("#")[0]
            if style in _ADMONITIONS:
                self._label = f"{style}: "
            self._emit(self._attributes.plain("\n".join(self._block)), is_list=self._in_list)
        self._block = []
        self._in_list = False

    def _emit(self, text: str, *, is_list: bool = False) -> None:
        """Write a block below its title and forget what was said of it."""
        if text and not is_list and not self._attached:
            self._numbers = []  # the next list begins anew
        self._attached = bool(self._attached_until) or (self._attached and not text)
        head = f"{self._title}\n\n" if self._title and text else self._title
        self.outline.text(f"{head}{self._label if text else ''}{text}")
        self._title = self._style = ""
        if text:
            self._label = ""


FORMAT = Format(suffixes=frozenset({".adoc", ".asciidoc", ".asc"}), read=read)
