"""Markdown: headings make sections, the rest stays as written; front matter gives title and address."""

import re
import tomllib
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from lightspeed.documents.formats.encoding import decode
from lightspeed.documents.formats.format import Content, Format, FormatError
from lightspeed.documents.formats.html import write_html
from lightspeed.documents.formats.outline import Outline
from lightspeed.documents.formats.tree import URL_KEYS, Branch
from lightspeed.documents.formats.yaml import yaml_trees

if TYPE_CHECKING:
    from markdown_it import MarkdownIt
    from markdown_it.token import Token

_YAML = re.compile(r"\A---[ \t]*\n(.*?)^(?:---|\.\.\.)[ \t]*(?:\n|\Z)", re.DOTALL | re.MULTILINE)
_TOML = re.compile(r"\A\+\+\+[ \t]*\n(.*?)^\+\+\+[ \t]*(?:\n|\Z)", re.DOTALL | re.MULTILINE)
_PLAIN_TITLE = re.compile(r"^title:[ \t]*(\S.*)$", re.MULTILINE)
_HEADING_ATTRIBUTES = re.compile(r"\s*\{[:#.][^{}]*\}\s*\Z")
_EMBEDDED_DATA = re.compile(r"\bdata:[\w.+-]+/[\w.+-]+(?:;[\w=-]+)*;base64,[A-Za-z0-9+/=]{64,}")


def read(data: bytes) -> Content:
    from markdown_it import MarkdownIt

    front, text = _front_matter(decode(data))
    outline = Outline()
    parser = MarkdownIt("commonmark").enable("table")
    _write(_EMBEDDED_DATA.sub("data:", text), parser, outline)
    title = front.get("title")
    return Content(
        outline.sections(),
        title=" ".join(str(title).split()) if title else outline.first_heading,
        url=next((front[key] for key in URL_KEYS if _is_address(front.get(key))), None),
    )


def _front_matter(text: str) -> tuple[Mapping[str, Any], str]:
    """The fields at the head of a file, and the text after them."""
    fields: Mapping[str, Any] | None
    if found := _YAML.match(text):
        fields = _yaml_fields(found[1])
    elif found := _TOML.match(text):
        try:
            fields = tomllib.loads(found[1])
        except (ValueError, RecursionError):
            fields = None
    else:
        return {}, text
    return (fields, text[found.end() :]) if fields is not None else ({}, text)


def _yaml_fields(source: str) -> Mapping[str, str] | None:
    """The fields that are wanted. References in YAML can stand for endless text, so nothing else is built."""
    try:
        fields = next(yaml_trees(source), None)
    except FormatError:
        # Templates put braces into front matter; a title is still worth having.
        title = _PLAIN_TITLE.search(source)
        return {"title": title[1].strip("'\" ")} if title else None
    if isinstance(fields, Branch) and fields.keys is not None:
        return {key: fields.first(key) for key in ("title", *URL_KEYS)}
    return None if source.strip() else {}


def _is_address(value: object) -> bool:
    return isinstance(value, str) and value.startswith(("https://", "http://"))


def _write(text: str, parser: "MarkdownIt", outline: Outline) -> None:
    lines = text.split("\n")
    tokens: list[Token] = []
    # Only the block structure: parsing the inline markup of a whole document takes most of the time.
    parser.block.parse(text, parser, {}, tokens)
    done = 0
    for index, token in enumerate(tokens):
        if token.level or token.map is None or token.type not in ("heading_open", "html_block"):
            continue
        start, end = token.map
        outline.text("\n".join(lines[done:start]))
        done = end
        if token.type == "html_block":
            write_html(token.content, outline)
        else:
            outline.heading(int(token.tag[1]), _heading_text(tokens[index + 1].content, parser))
    outline.text("\n".join(lines[done:]))


def _heading_text(source: str, parser: "MarkdownIt") -> str:
    source = _HEADING_ATTRIBUTES.sub("", source)
    tokens = parser.parseInline(source)[0].children or []
    words = " ".join(
        "".join(
            " " if token.type in ("softbreak", "hardbreak") else token.content
            for token in tokens
            if token.type not in ("image", "html_inline")
        ).split()
    )
    return words or " ".join(" ".join(token.content for token in tokens if token.type == "image").split())


FORMAT = Format(suffixes=frozenset({".md", ".markdown"}), read=read)
