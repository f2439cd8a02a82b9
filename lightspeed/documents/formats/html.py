"""HTML: the readable text of a page, without its navigation."""

import re
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

from lightspeed.documents.formats.encoding import decode
from lightspeed.documents.formats.format import Content, Format, FormatError
from lightspeed.documents.formats.nesting import deepest
from lightspeed.documents.formats.outline import Outline

if TYPE_CHECKING:
    from selectolax.lexbor import LexborHTMLParser, LexborNode


def _names(text: str) -> frozenset[str]:
    return frozenset(text.split())


_CHARSET = re.compile(
    rb"<(?:meta\s[^>]*?charset|\?xml\s[^>]*?encoding)\s*=\s*[\"']?\s*([\w.:-]+)", re.IGNORECASE
)
_DROPPED = _names(
    "script style noscript template head title nav header footer aside form svg canvas iframe object embed"
    " video audio button select textarea input dialog"
)
_DROPPED_ROLES = frozenset({"navigation", "banner", "contentinfo", "search", "complementary"})
_DROPPED_CLASSES = frozenset({"headerlink", "linenos", "linenodiv", "lineno", "anchor-link"})
# How pages without <nav> and <footer> name these: DocBook, Texinfo, AsciiDoc, Sphinx and many a site.
_NAVIGATION = _names("navheader navfooter nav-panel nav navbar mobile-nav breadcrumb breadcrumbs footer")
_BOXES = frozenset({"div", "table", "p", "ul", "ol", "section"})
_TURNING = 'a[accesskey], a[rel="next"], a[rel="prev"], a[rel="up"]'
_HEADINGS = frozenset({"h1", "h2", "h3", "h4", "h5", "h6"})
_LISTS = frozenset({"ul", "ol", "dl", "menu"})
_PHRASING = _names(
    "a abbr b bdi bdo big cite code data del dfn em font i img ins kbd label mark math mi mn mo ms mtext mrow"
    " q ruby rb rp rt s samp small span strike strong sub sup time tt u var wbr"
)
_LAYOUT = "h1, h2, h3, h4, h5, h6, table, pre, ul, ol, dl, main, article"
_LANGUAGE = re.compile(r"(?:^|\s)(?:language|lang|highlight-source)-([\w+#-]+)")
_INVISIBLE = re.compile("[\u00ad\u200b\ufeff]")
_MOST_OPEN = 1000


def read(data: bytes) -> Content:
    tree = _parse(decode(data, _charset(data)))
    outline = Outline()
    for node in _readable_parts(tree):
        _Writer(outline).write(node)
    title = tree.css_first("head > title")
    link = tree.css_first('link[rel~="canonical"]')
    address = (link.attributes.get("href") or "").strip() if link is not None else ""
    return Content(
        outline.sections(),
        title=(_one_line(title.text()) if title is not None else "") or outline.first_heading,
        url=address if address.startswith(("https://", "http://")) else None,
    )


def write_html(fragment: str, outline: Outline) -> None:
    """Adds the readable text of a piece of HTML, such as stands in a Markdown file."""
    body = _parse(fragment).body
    if body is not None:
        _Writer(outline).write(body)


def _charset(data: bytes) -> str | None:
    found = _CHARSET.search(data[:4096])
    name = found[1].decode("ascii").lower() if found else None
    # As browsers do: pages that say Latin-1 mean Windows-1252; UTF-16 cannot be told from inside.
    if name in ("iso-8859-1", "latin1", "latin-1", "us-ascii", "ascii"):
        return "cp1252"
    return None if name and name.startswith("utf-16") else name


def _parse(text: str) -> "LexborHTMLParser":
    from selectolax.lexbor import LexborHTMLParser

    if text.count("<") > _MOST_OPEN and deepest(text) > _MOST_OPEN:
        raise FormatError(f"HTML nested more than {_MOST_OPEN} levels deep")
    return LexborHTMLParser(text)


def _readable_parts(tree: "LexborHTMLParser") -> list["LexborNode"]:
    """The main part, else the articles when they are most of the page, else the whole body."""
    for main in tree.css('main, [role="main"]'):
        if main.text().strip():
            return [main]
    body = tree.body
    if body is None:
        return []
    articles = [node for node in tree.css("article") if not _inside(node, "article")]
    lengths = sum(len(_one_line(node.text())) for node in articles)
    return articles if lengths * 4 > len(_one_line(body.text())) else [body]


def _inside(node: "LexborNode", tag: str) -> bool:
    parent = node.parent
    while parent is not None and parent.tag != tag:
        parent = parent.parent
    return parent is not None


def _is_dropped(node: "LexborNode") -> bool:
    if node.tag in _DROPPED:
        # Some servers wrap the whole page in a form.
        return node.tag != "form" or node.css_first("main, article, h1, h2") is None
    attributes = node.attributes
    if not attributes:
        return False
    role = attributes.get("role")
    names = {*(attributes.get("class") or "").split(), attributes.get("id")}
    return (
        role in _DROPPED_ROLES
        or attributes.get("aria-hidden") == "true"
        or ("hidden" in attributes and role != "tabpanel")
        or not _DROPPED_CLASSES.isdisjoint(names)
        or _is_navigation(node, names)
    )


def _is_navigation(node: "LexborNode", names: set[str | None]) -> bool:
    if node.tag not in _BOXES:
        return False
    named = not _NAVIGATION.isdisjoint(names) or ("header" in names and node.css_first(_TURNING) is not None)
    return named and node.css_first("main, article, h1, h2") is None


def _walk(
    root: "LexborNode", enter: Callable[["LexborNode"], bool], leave: Callable[["LexborNode"], None]
) -> None:
    """Visits elements and texts in reading order; `enter` says whether to go inside. Not recursive."""
    stack = [(root, False)]
    while stack:
        node, entered = stack.pop()
        if entered:
            leave(node)
        elif enter(node):
            stack.append((node, True))
            stack.extend((child, False) for child in reversed(list(_children(node))))


def _children(node: "LexborNode") -> Iterator["LexborNode"]:
    child = node.child
    while child is not None:
        yield child
        child = child.next


def _plain(root: "LexborNode", *, verbatim: bool = False) -> str:
    """The text inside a node; unless verbatim, block elements are set apart by spaces."""
    parts: list[str] = []

    def enter(node: "LexborNode") -> bool:
        if node.is_text_node:
            parts.append(node.text_content or "")
            return False
        if not node.is_element_node or (node is not root and _is_dropped(node)):
            return False
        if node.tag == "br":
            parts.append("\n")
        elif not verbatim and node.tag not in _PHRASING:
            parts.append(" ")
        return True

    def leave(node: "LexborNode") -> None:
        if not verbatim and node.tag not in _PHRASING:
            parts.append(" ")

    _walk(root, enter, leave)
    return "".join(parts)


def _one_line(text: str) -> str:
    return " ".join(_INVISIBLE.sub("", text).split())


class _Writer:
    """Writes the text of one element into an outline."""

    def __init__(self, outline: Outline) -> None:
        self._outline = outline
        self._words: list[str] = []
        self._lines: list[str] = []
        self._numbers: list[int | None] = []
        self._marker = ""

    def write(self, root: "LexborNode") -> None:
        _walk(root, lambda node: self._enter(node, root), self._leave)
        self._end_block()

    def _enter(self, node: "LexborNode", root: "LexborNode") -> bool:
        if node.is_text_node:
            self._words.append(node.text_content or "")
            return False
        if not node.is_element_node:
            return False
        tag = node.tag or ""
        if node is not root and _is_dropped(node):
            if tag == "header" and root.tag != "body":
                self._headings(node)
            return False
        if tag in _PHRASING:
            return True
        return self._enter_block(node, tag)

    def _enter_block(self, node: "LexborNode", tag: str) -> bool:
        if tag in _HEADINGS:
            self._heading(node)
            return False
        if tag == "pre":
            self._end_block()
            self._outline.text(_fenced(node))
            return False
        if tag == "table" and all(inner.mem_id == node.mem_id for inner in node.css(_LAYOUT)):
            self._end_block()
            self._outline.text(_table(node))
            return False
        self._end_line() if self._numbers or tag == "br" else self._end_block()
        if tag in _LISTS:
            self._numbers.append(0 if tag == "ol" else None)
        elif tag == "li":
            self._marker = "- "
            if self._numbers and (number := self._numbers[-1]) is not None:
                self._numbers[-1] = number + 1
                self._marker = f"{number + 1}. "
        elif tag in ("dt", "dd"):
            self._marker = "  " if tag == "dd" else ""
        return True

    def _leave(self, node: "LexborNode") -> None:
        tag = node.tag or ""
        if tag in _PHRASING or tag == "br":
            return
        if tag in _LISTS and self._numbers:
            self._end_line()
            self._numbers.pop()
            self._marker = "  " if self._numbers else ""
        if self._numbers:
            self._end_line()
        else:
            self._end_block()

    def _heading(self, node: "LexborNode") -> None:
        self._end_block()
        self._outline.heading(int((node.tag or "h1")[1]), _one_line(_plain(node)).rstrip("¶#§ "))

    def _headings(self, node: "LexborNode") -> None:
        for heading in node.css("h1, h2, h3, h4, h5, h6"):
            self._heading(heading)

    def _end_line(self) -> None:
        line = _one_line("".join(self._words))
        self._words = []
        if line:
            indent = "  " * (len(self._numbers) - 1)
            self._lines.append(f"{indent}{self._marker}{line}")
            self._marker = "  " if self._numbers else ""

    def _end_block(self) -> None:
        self._end_line()
        if self._lines:
            self._outline.text("\n".join(self._lines))
            self._lines = []


def _fenced(node: "LexborNode") -> str:
    text = _INVISIBLE.sub("", _plain(node, verbatim=True)).replace("\xa0", " ").strip("\n").rstrip()
    if not text.strip():
        return ""
    code = node.css_first("code")
    classes = " ".join(part.attributes.get("class") or "" for part in (node, code) if part is not None)
    language = _LANGUAGE.search(classes)
    longest = max((len(run) for run in re.findall("`{3,}", text)), default=2)
    fence = "`" * (longest + 1)
    return f"{fence}{language[1] if language else ''}\n{text}\n{fence}"


def _table(table: "LexborNode") -> str:
    """A line for each row, the cells set apart by bars; a rule below a row of headings at the top."""
    lines: list[str] = []
    caption = table.css_first("caption")
    if caption is not None and (title := _one_line(_plain(caption))):
        lines += [title, ""]
    rows = table.css("tr")
    for row in rows:
        cells = [cell for cell in _children(row) if cell.tag in ("td", "th")]
        texts = [_one_line(_plain(cell)) for cell in cells]
        if any(texts):
            lines.append(" | ".join(texts).strip())
        if row is rows[0] and len(cells) > 1 and all(cell.tag == "th" for cell in cells):
            lines.append(" | ".join("---" for _ in cells))
    return "\n".join(lines)


FORMAT = Format(suffixes=frozenset({".html", ".htm", ".xhtml"}), read=read)
