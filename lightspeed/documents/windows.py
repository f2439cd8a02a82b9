"""Documents to chunks of one size with a fixed overlap, when a client asks for just that."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from lightspeed.documents.chunking import TextChunk, TokenCounter, Trail, estimate_tokens, header_line
from lightspeed.documents.document import Document
from lightspeed.documents.splitting import Splitter

_SMALLEST_BUDGET = 16
_HEADER_SHARE = 4  # a header longer than this part of a chunk is cut


@dataclass(frozen=True, slots=True)
class _Part:
    """A sentence, a run of words or a heading, with the white space before it."""

    text: str
    tokens: int
    trail: Trail
    is_heading: bool = False


class WindowChunker:
    """Cuts a document into chunks of up to `max_tokens` tokens, whatever its structure is.

    The end of each chunk is repeated at the beginning of the next: sentences or runs of words of at most
    `overlap` tokens together and of more than half as many; one long word is repeated in any case. A chunk
    begins with the title and the headings that hold for its first words. Raises ValueError if `max_tokens`
    is below 16, or `overlap` above half of it.
    """

    def __init__(
        self, *, max_tokens: int, overlap: int, count_tokens: TokenCounter = estimate_tokens
    ) -> None:
        if max_tokens < _SMALLEST_BUDGET:
            raise ValueError(f"max_tokens must be at least {_SMALLEST_BUDGET}")
        if not 0 <= overlap <= max_tokens // 2:
            raise ValueError("overlap must be at least 0 and at most half of max_tokens")
        if count_tokens("knowledge " * (max_tokens + 1)) <= max_tokens:
            raise ValueError("count_tokens does not count beyond max_tokens: does the tokenizer truncate?")
        self._budget = max_tokens
        self._overlap = overlap
        self._count = count_tokens
        self._splitter = Splitter(count_tokens)
        self._room = max_tokens - count_tokens("")
        # Small beside the overlap, so that nearly as much is repeated as was asked for.
        self._part_size = max(1, min(overlap // 3 if overlap else self._room, self._room // 8))

    def chunks(self, document: Document) -> Iterator[TextChunk]:
        """The document's chunks in reading order."""
        parts = list(self._parts(document))
        start = fresh = position = 0
        while fresh < len(parts):
            end = self._end(document.title, parts, start, fresh)
            text, tokens = self._text(document.title, parts[start:end])
            # Together they may count more than one by one.
            while tokens > self._budget and end - start > 1:
                start, end = self._shrunk(parts, start, fresh, end, tokens - self._budget)
                text, tokens = self._text(document.title, parts[start:end])
            if tokens > self._budget and len(parts[start].text) > 1:
                parts[start:end] = self._halves(parts[start])
                continue
            yield TextChunk(text, _shared_trail(parts[start:end]), position, tokens)
            position += 1
            start, fresh = self._next_start(parts, start, end), end

    def _parts(self, document: Document) -> Iterator[_Part]:
        before: Trail = ()
        for section in document.sections:
            trail = section.heading_trail
            if trail != before:
                known = len(_common(before, trail))
                heading = "\n\n" + " > ".join(trail[known:] or trail[-1:])
                yield _Part(heading, self._splitter.tokens(heading), trail, is_heading=True)
            before = trail
            for sentence in self._splitter.sentences("\n\n" + section.text):
                for piece in self._splitter.words(sentence, self._part_size, whole=self._room // 2):
                    yield _Part(piece.text, piece.tokens, trail)

    def _end(self, title: str, parts: Sequence[_Part], start: int, fresh: int) -> int:
        """Where a chunk ends that begins at `start`; at least one part of it has not been given before."""
        room = self._room - self._splitter.tokens(self._header(title, parts[start].trail) + "\n")
        end = start
        while end < len(parts) and (end <= fresh or parts[end].tokens <= room):
            room -= parts[end].tokens
            end += 1
        return end

    def _shrunk(
        self, parts: Sequence[_Part], start: int, fresh: int, end: int, excess: int
    ) -> tuple[int, int]:
        """Leave out about `excess` tokens: at the end, or of what is repeated when nothing else is left."""
        if end <= fresh + 1:
            return start + 1, end
        while end > fresh + 1 and excess > 0:
            end -= 1
            excess -= max(1, parts[end].tokens)
        return start, end

    def _next_start(self, parts: Sequence[_Part], start: int, end: int) -> int:
        """Where the next chunk begins: before `end`, by as much as the overlap allows."""
        room = self._overlap
        following = end
        while following - 1 > start and parts[following - 1].tokens <= room:
            following -= 1
            room -= parts[following].tokens
        return end - 1 if self._overlap and following == end else following

    def _header(self, title: str, trail: Trail) -> str:
        header = header_line(title, trail)
        limit = self._room // _HEADER_SHARE
        if self._splitter.fits(header + "\n", limit) is None:
            return next(self._splitter.words(header, max(1, limit - 1))).text
        return header

    def _text(self, title: str, parts: Sequence[_Part]) -> tuple[str, int]:
        header = self._header(title, parts[0].trail)
        if parts[0].is_heading and header == header_line(title, parts[0].trail):
            parts = parts[1:]
        body = "".join(part.text for part in parts)
        body = body.strip("\n") if body.startswith("\n") else body.lstrip()
        text = f"{header}\n{body}".strip("\n").rstrip()
        return text, self._count(text)

    def _halves(self, part: _Part) -> list[_Part]:
        middle = len(part.text) // 2
        texts = (part.text[:middle], part.text[middle:])
        return [
            _Part(text, self._splitter.tokens(text), part.trail, part.is_heading)
            for text in texts
            if re.search(r"\S", text)
        ] or [_Part(part.text[:1], 0, part.trail)]


def _shared_trail(parts: Sequence[_Part]) -> Trail:
    shared = parts[0].trail
    for part in parts:
        shared = _common(shared, part.trail)
    return shared


def _common(one: Trail, other: Trail) -> Trail:
    length = 0
    while length < min(len(one), len(other)) and one[length] == other[length]:
        length += 1
    return one[:length]
