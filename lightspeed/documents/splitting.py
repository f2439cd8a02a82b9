"""Cutting text into pieces that fit: paragraphs, then sentences, lines, words, and letters at last."""

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

_FENCE = re.compile(r"\s*(`{3,}|~{3,})([^`]*)$")
# The end of a sentence, or of the line before an item of a list or a row of a table.
_SENTENCE_END = re.compile(
    r"(?<![.!?…])[.!?…]++[\"'\u201d\u2019)\]*_`]*+(?=\s++[^\sa-z])|[\u3002\uff01\uff1f]|(?=\n[ \t]*+(?:[-*+•|]|\d++[.)])\s)"
)
_LINE_END = re.compile(r"(?=\n)")
_SPACE = re.compile(r"\s")

# The lines before, in and after the part of a block that can be cut.
Frame = tuple[Sequence[str], Sequence[str], Sequence[str]]

# No tokenizer needs fewer than a token for so many characters of real text; runs of spaces and
# over-long words, which some count as one token or none, must not make endless chunks.
_CHARACTERS_PER_TOKEN = 16


@dataclass(frozen=True, slots=True)
class Piece:
    """A part of a text with the white space before it. Joined, the pieces give the text again.

    Only `prose` may be repeated as overlap.
    """

    text: str
    tokens: int
    prose: bool = True


class Splitter:
    """Cuts text into pieces of at most `limit` tokens each, as `count` counts them."""

    def __init__(self, count: Callable[[str], int]) -> None:
        self._count = count
        self._base = count("")

    def tokens(self, text: str) -> int:
        """What the text adds to a longer one: without the marks that the counter adds to every text."""
        return max(self._count(text) - self._base, len(text) // _CHARACTERS_PER_TOKEN)

    def fits(self, text: str, limit: int) -> int | None:
        """The tokens of a text, or None if there are more than `limit`."""
        if len(text) > (limit + 1) * _CHARACTERS_PER_TOKEN:
            return None
        tokens = self.tokens(text)
        return tokens if tokens <= limit else None

    def pieces(self, text: str, limit: int) -> Iterator[Piece]:
        """The pieces of Markdown or plain text, whole paragraphs and code blocks where they fit."""
        for block in blocks(text):
            whole = "\n\n" + block
            frame = _frame(block)
            if (tokens := self.fits(whole, limit)) is not None:
                yield Piece(whole, tokens, prose=frame is None)
            elif frame is not None and (used := self._frame_tokens(frame, limit)) is not None:
                yield from self._framed(frame, limit - used)
            else:
                yield from self._sentences(whole, limit)

    def sentences(self, text: str) -> list[str]:
        """The sentences of a piece, each with the white space before it."""
        return _slices(text, _SENTENCE_END)

    def words(self, text: str, limit: int, *, whole: int | None = None) -> Iterator[Piece]:
        """Runs of words of at most `limit` tokens; a word is cut only if it has more than `whole`."""
        whole = limit if whole is None else whole
        parts = [text]
        while parts:
            part = parts.pop()
            cut = None
            if (tokens := self.fits(part, limit)) is None:
                cut = _middle(part)
                if cut is None and (tokens := self.fits(part, whole)) is None and len(part) > 1:
                    cut = len(part) // 2
            if cut is None:
                yield Piece(part, self.tokens(part) if tokens is None else tokens, prose=False)
            else:
                parts += [part[cut:], part[:cut]]

    def _sentences(self, text: str, limit: int) -> Iterator[Piece]:
        for sentence in self.sentences(text):
            if (tokens := self.fits(sentence, limit)) is not None:
                yield Piece(sentence, tokens)
                continue
            for line in _slices(sentence, _LINE_END):
                if (tokens := self.fits(line, limit)) is not None:
                    yield Piece(line, tokens)
                else:
                    # Small runs, so that chunks of them are nearly full.
                    yield from self.words(line, max(1, limit // 8), whole=limit)

    def _frame_tokens(self, frame: Frame, limit: int) -> int | None:
        head, _, tail = frame
        return self.fits("\n\n" + "\n".join((*head, *tail)), limit // 2)

    def _framed(self, frame: Frame, room: int) -> Iterator[Piece]:
        """A code block or table in parts, each with the fence or the head of the table around it."""
        head, rows, tail = frame
        part: list[str] = []
        used = 0
        for row in rows:
            for piece in self.words("\n" + row, room):
                if part and used + piece.tokens > room:
                    yield from self._frame_piece(head, part, tail)
                    part, used = [], 0
                part.append(piece.text)
                used += piece.tokens
        yield from self._frame_piece(head, part, tail)

    def _frame_piece(self, head: Sequence[str], part: Sequence[str], tail: Sequence[str]) -> Iterator[Piece]:
        rows = "".join(part).strip("\n")
        if rows.strip():
            text = "\n".join((*head, rows, *tail))
            yield Piece("\n\n" + text, self.tokens("\n\n" + text), prose=False)


def blocks(text: str) -> Iterator[str]:
    """Paragraphs, tables, lists and fenced code, without the blank lines between them."""
    block: list[str] = []
    fence = ""
    for line in text.split("\n"):
        found = _FENCE.match(line)
        if fence:
            block.append(line)
            if found and found[1].startswith(fence) and not found[2].strip():
                yield "\n".join(block)
                block, fence = [], ""
        elif found or not line.strip():
            if block:
                yield "\n".join(block)
            block, fence = ([line], found[1]) if found else ([], "")
        else:
            block.append(line.rstrip())
    if fence:
        # Never closed, so it is no code: paragraphs again.
        yield from (part for part in re.split(r"\n(?:[^\S\n]*\n)+", "\n".join(block)) if part.strip())
    elif block:
        yield "\n".join(block)


def _frame(block: str) -> Frame | None:
    """The lines of a fenced block or table: what stays around every part of it, and what is between."""
    lines = block.split("\n")
    if len(lines) > 2 and _FENCE.match(lines[0]) and _FENCE.match(lines[-1]):
        return lines[:1], lines[1:-1], lines[-1:]
    if len(lines) > 2 and {"|", "-"} <= set(lines[1]) <= set("|-: \t"):
        return lines[:2], lines[2:], ()
    return None


def _slices(text: str, end: re.Pattern[str]) -> list[str]:
    parts: list[str] = []
    start = 0
    for stop in (*(found.end() for found in end.finditer(text)), len(text)):
        part = text[start:stop]
        if part.strip():
            parts.append(part)
            start = stop
    return parts


def _middle(text: str) -> int | None:
    """Where a text of several words is cut: at white space near its middle."""
    lead = len(text) - len(text.lstrip())
    found = _SPACE.search(text, max(lead, len(text) // 2))
    if found:
        return found.start()
    cut = max(text.rfind(space, lead, len(text) // 2) for space in " \t\n\xa0\u3000")
    return cut if cut > lead else None
