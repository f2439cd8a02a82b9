"""The name in what a model says when it is asked for one."""

import re

_LONGEST_NAME = 80  # characters
_LONGEST_THOUGHT = 4000

_THOUGHT = re.compile(r"<think(?:ing)?>.*?(?:</think(?:ing)?>|\Z)", re.DOTALL)
_BLANKS = re.compile(r"[\s\x00-\x1f\x7f]+")
_MARKS = re.compile(r"\*\*|`+")
_OPENING = re.compile(r"^(?:#+|>|[-*•])\s+")
_LABEL = re.compile(
    r"^(?:(?:conversation|topic|short)\s+)?(?:topic|title|summary|subject|name)\s*[:\uff1a]\s*", re.IGNORECASE
)
_QUOTES = {
    '"': '"',
    "'": "'",
    "\u201c": "\u201d",
    "\u201e": "\u201c",
    "\u2018": "\u2019",
    "«": "»",
    "*": "*",
    "_": "_",
}


def topic_name(said: str, *, ended: bool) -> str | None:
    """The name in the first line that holds one, or "" if there is none. None: more must be read to know."""
    text = _THOUGHT.sub("", said)
    *lines, last = text.split("\n")
    for line in lines:
        if name := _cleaned(line):
            return name
    if ended or len(last.lstrip()) >= _LONGEST_NAME or len(said) > _LONGEST_THOUGHT:
        return _cleaned(last)
    return None


def _cleaned(line: str) -> str:
    if line.lstrip().startswith("```"):
        return ""
    name = _MARKS.sub("", _BLANKS.sub(" ", line)).strip()
    before = None
    while name != before:
        before = name
        name = _LABEL.sub("", _OPENING.sub("", name)).rstrip(".,:;").strip()
        if len(name) > 1 and _QUOTES.get(name[0]) == name[-1]:
            name = name[1:-1].strip()
    if name.count('"') == 1:
        name = name.replace('"', "").strip()
    if not any(character.isalnum() for character in name):
        return ""
    if len(name) <= _LONGEST_NAME:
        return name
    cut = name[:_LONGEST_NAME]
    return cut.rpartition(" ")[0] or cut
