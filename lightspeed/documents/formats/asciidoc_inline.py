"""What stands inside a line of AsciiDoc: attribute references, links and other macros, to plain text."""

import html
import re

_REFERENCE = re.compile(r"(\\?)\{([\w][\w-]{0,99})\}")
_MACRO = re.compile(
    r"\b(link|mailto|xref|image|icon|kbd|btn|menu|footnote|footnoteref|pass|anchor|stem|latexmath|asciimath"
    r"|indexterm2?):([^\s\[\]]{0,500})\[((?:\\\]|[^\]]){0,600})\]"
)
_ADDRESS = re.compile(r"(?<![\w:])(https?://[^\s\[\]<>]{1,1000})\[([^\]]{0,1000})\]")
_CROSS_REFERENCE = re.compile(r"<<([^<>,\n]{1,300})(?:,([^<>]{1,500}))?>>")
_INVISIBLE = re.compile(r"\[\[[^\[\]]{1,300}\]\]|\(\(\([^()]{1,300}\)\)\)|\[[.#%][\w.#%-]{0,100}\](?=[#*_`])")
_INDEXED = re.compile(r"\(\(([^()]{1,300})\)\)")
_LITERAL = re.compile(r"`\+([^`\n]{1,300}?)\+`")
_PASSED = re.compile(r"(?<![\w+])(\+{1,3})([^+\s](?:[^+\n]{0,300}[^+\s])?)\1(?![\w+])")
_MARKED = re.compile(r"(?<![\w#&])#([^#\s](?:[^#\n]{0,300}[^#\s])?)#(?![\w#])")
_HARD_BREAK = re.compile(r" \+$", re.MULTILINE)
_NAMED_ATTRIBUTES = re.compile(r",\s*[\w-]+=.*\Z", re.DOTALL)
_MOST_EXPANDED = 2_000_000  # characters
_ENTITIES = ("lt", "gt", "amp", "apos", "quot", "plus", "vbar", "deg", "lsquo", "rsquo", "ldquo", "rdquo")
_INTRINSIC = {
    **dict.fromkeys(("empty", "blank", "zwsp", "wj", "shy"), ""),
    **dict.fromkeys(("sp", "nbsp"), " "),
    **{name: html.unescape(f"&{name};") for name in _ENTITIES},
    "cpp": "C++",
    "asterisk": "*",
    "backslash": "\\",
    "backtick": "`",
    "caret": "^",
    "endsb": "]",
    "hash": "#",
    "startsb": "[",
    "tilde": "~",
    "two-colons": "::",
    "two-semicolons": ";;",
}


class Attributes:
    """The attributes of a document as far as it has been read, and the text in which they stand."""

    def __init__(self) -> None:
        self._values = dict(_INTRINSIC)
        self._room = _MOST_EXPANDED

    def set(self, name: str, value: str) -> None:
        """A name that begins or ends with `!` unsets the attribute."""
        if "!" in name:
            self._values.pop(name.strip("!").lower(), None)
        else:
            self._values[name.lower()] = self.resolved(value)

    def get(self, name: str) -> str:
        return self._values.get(name, "")

    def resolved(self, text: str) -> str:
        """The text with the values of the attributes that are known; all others stay as written."""
        return _REFERENCE.sub(self._value, text) if "{" in text else text

    def plain(self, text: str) -> str:
        """The text of lines without macros and attributes; emphasis and backquotes stay."""
        text = self.resolved(text)
        text = _INVISIBLE.sub("", text)
        text = _MACRO.sub(_macro_text, text)
        text = _ADDRESS.sub(lambda found: _link_text(found[2]) or found[1], text)
        text = _CROSS_REFERENCE.sub(lambda found: (found[2] or found[1].lstrip("#")).strip(), text)
        text = _INDEXED.sub(r"\1", text)
        text = _LITERAL.sub(r"`\1`", text)
        text = _PASSED.sub(r"\2", text)
        text = _MARKED.sub(r"\1", text)
        text = _HARD_BREAK.sub("", text)
        return html.unescape(text) if "&" in text else text

    def _value(self, found: re.Match[str]) -> str:
        if found[1]:
            return found[0][1:]
        value = self._values.get(found[2].lower())
        # Attributes that name each other twice would double without end.
        if value is None or len(value) > self._room:
            return found[0]
        self._room -= len(value)
        return value


def _macro_text(found: re.Match[str]) -> str:
    name, target, content = found[1], found[2], found[3].replace("\\]", "]")
    match name:
        case "link" | "mailto" | "xref":
            return _link_text(content) or target.lstrip("#")
        case "image" | "icon":
            return alternative_text(content)
        case "menu":
            return " > ".join(part for part in (target, content) if part)
        case "footnote" | "footnoteref":
            return f" ({content})" if content else ""
        case "anchor" | "indexterm":
            return ""
    return content


def alternative_text(attributes: str) -> str:
    """The text for an image: its first attribute unless that has a name."""
    first = attributes.split(",")[0].strip().strip('"')
    if "=" not in first:
        return first
    found = re.search(r'alt="?([^",]*)', attributes)
    return found[1] if found else ""


def _link_text(content: str) -> str:
    return _NAMED_ATTRIBUTES.sub("", content).strip().removesuffix("^").strip('"')
