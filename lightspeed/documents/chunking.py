"""Documents to the chunks that are embedded and searched."""

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from lightspeed.documents.document import Document, Section, shortened
from lightspeed.documents.splitting import Piece, Splitter

TokenCounter = Callable[[str], int]
Trail = tuple[str, ...]

_ESTIMATE = re.compile(r"[A-Za-zÀ-ɏ]{1,6}|\d{1,2}|[^\sA-Za-zÀ-ɏ\d]")
_SMALLEST_BUDGET = 16
_USUAL_BUDGET = 220
_LONGEST_LABEL = 500
_SPARE_TOKENS = 4  # what a tokenizer puts around a text, and a margin


def estimate_tokens(text: str) -> int:
    """A guess at a WordPiece tokenizer's count: one for 6 Latin letters, 2 digits, any other sign.

    On technical documents the sum is within 5 % of MiniLM's, but a single chunk full of signs or hashes can
    have twice as many tokens: use the model's own tokenizer where there is one.
    """
    return len(_ESTIMATE.findall(text))


def token_budget(limit: int | None) -> int:
    """The tokens of a chunk that an embedding model reads whole; `limit` is the model's, None if it is not known."""
    return _USUAL_BUDGET if limit is None else min(_USUAL_BUDGET, limit - _SPARE_TOKENS)


@dataclass(frozen=True, slots=True)
class TextChunk:
    """One chunk: `text` is what is embedded and begins with the title and headings.

    `heading_trail` is the section's, or what all its sections share. `position` counts from 0 in the
    document. `token_count` is the injected counter's for `text`.
    """

    text: str
    heading_trail: Trail
    position: int
    token_count: int


class Chunker:
    """Cuts documents into chunks of at most `token_budget` tokens.

    `overlap` is the most that a chunk repeats of the one before it in the same section, in whole
    sentences. `count_tokens` must count everything: a tokenizer that truncates is refused with
    ValueError, as is a budget that is too small.
    """

    def __init__(
        self,
        *,
        token_budget: int = _USUAL_BUDGET,
        overlap: int = 32,
        count_tokens: TokenCounter = estimate_tokens,
    ) -> None:
        if token_budget < _SMALLEST_BUDGET:
            raise ValueError(f"token_budget must be at least {_SMALLEST_BUDGET}")
        if not 0 <= overlap < token_budget:
            raise ValueError("overlap must be at least 0 and less than token_budget")
        if count_tokens("knowledge " * (token_budget + 1)) <= token_budget:
            raise ValueError("count_tokens does not count beyond the budget: does the tokenizer truncate?")
        self._budget = token_budget
        self._overlap = overlap
        self._count = count_tokens
        self._splitter = Splitter(count_tokens)
        self._room = token_budget - count_tokens("")

    def chunks(self, document: Document) -> Iterator[TextChunk]:
        """The document's chunks in reading order."""
        position = 0
        for trail, sections in self._groups(document):
            for text, tokens in self._texts(document.title, trail, sections):
                yield TextChunk(text, trail, position, tokens)
                position += 1

    def _groups(self, document: Document) -> Iterator[tuple[Trail, list[Section]]]:
        """Sections with the headings they share: large ones alone, small neighbours together."""
        trail: Trail = ()
        sections: list[Section] = []
        used = 0
        for section in document.sections:
            tokens = self._splitter.fits(_with_heading(section), self._room)
            shared = _shared_trail(trail, sections, section.heading_trail) if tokens is not None else None
            if tokens is not None and shared is not None:
                header = self._splitter.tokens(header_line(document.title, shared) + "\n")
                if header <= self._room // 3 and header + used + tokens <= self._room:
                    trail, used = shared, used + tokens
                    sections.append(section)
                    continue
            if sections:
                yield trail, sections
            trail, sections = section.heading_trail, [section]
            used = self._room if tokens is None else tokens
        if sections:
            yield trail, sections

    def _texts(self, title: str, trail: Trail, sections: Sequence[Section]) -> Iterator[tuple[str, int]]:
        header = header_line(title, trail)
        text = "\n\n".join(
            section.text if section.heading_trail == trail else _with_heading(section).strip("\n")
            for section in sections
        )
        used = self._splitter.fits(header + "\n", self._room // 3)
        if used is None:
            # Too long to stand above each chunk: once in full, then its beginning.
            text = f"{header}\n\n{text}"
            header = next(self._splitter.words(header, self._room // 3 - 1)).text
            used = self._splitter.tokens(header + "\n")
        if not text.strip():
            if header and any(section.heading_trail for section in sections):
                yield header, self._count(header)
            return
        limit = self._room - used
        # Together they were found to fit; one alone may not.
        whole = 0 if len(sections) > 1 else self._splitter.fits("\n\n" + text, limit)
        pieces = (
            iter([Piece("\n\n" + text, whole)]) if whole is not None else self._splitter.pieces(text, limit)
        )
        for body in self._bodies(pieces, limit):
            yield from self._checked(header, body)

    def _bodies(self, pieces: Iterator[Piece], limit: int) -> Iterator[list[Piece]]:
        body: list[Piece] = []
        used = 0
        for piece in pieces:
            if body and used + piece.tokens > limit:
                yield body
                body = self._repeated(body, min(self._overlap, limit - piece.tokens))
                used = sum(repeated.tokens for repeated in body)
            body.append(piece)
            used += piece.tokens
        if body:
            yield body

    def _repeated(self, body: Sequence[Piece], room: int) -> list[Piece]:
        """The last whole sentences of a chunk that fit into `room` tokens."""
        kept: list[Piece] = []
        for piece in reversed(body):
            for sentence in reversed(self._splitter.sentences(piece.text) if piece.prose else [piece.text]):
                tokens = self._splitter.fits(sentence, room) if piece.prose else None
                if tokens is None:
                    return kept[::-1]
                kept.append(Piece(sentence, tokens))
                room -= tokens
        return kept[::-1]

    def _checked(self, header: str, body: Sequence[Piece]) -> Iterator[tuple[str, int]]:
        """The text and tokens of a chunk, or of several if the whole counts more than its parts did."""
        text = _joined(header, body)
        tokens = self._count(text)
        if tokens <= self._budget or (len(body) == 1 and len(body[0].text) == 1):
            yield text, tokens
            return
        if len(body) == 1:
            body = list(self._splitter.words(body[0].text, max(1, body[0].tokens // 2)))
        if len(body) == 1:
            middle = len(body[0].text) // 2
            body = [Piece(part, 0) for part in (body[0].text[:middle], body[0].text[middle:])]
        for half in (body[: len(body) // 2], body[len(body) // 2 :]):
            if any(piece.text.strip() for piece in half):
                yield from self._checked(header, half)


def chunk_metadata(document: Document, chunk: TextChunk) -> dict[str, str | int | float]:
    """What the store keeps with a chunk. Values are scalars only: the stack refuses nested ones.

    `docs_url` is the document's address, or its relative path when it has none. `chunk_index` counts from 0
    in the document.
    """
    return {
        "document_id": document.id,
        "title": document.title,
        "docs_url": document.url or document.name,
        "source_path": document.name,
        "heading": heading_label(chunk.heading_trail),
        "chunk_index": chunk.position,
        "content_hash": document.content_hash,
    }


def heading_label(trail: Trail) -> str:
    """The headings as metadata, which stand beside every chunk: whole paragraphs among them are cut."""
    return shortened(" > ".join(trail), _LONGEST_LABEL)


def header_line(title: str, trail: Trail) -> str:
    """The line above a chunk; a first heading that the title begins with is not said twice."""
    if trail and re.match(re.escape(trail[0]) + r"(?!\w)", title):
        trail = trail[1:]
    return " > ".join(part for part in (title, *trail) if part)


def _with_heading(section: Section) -> str:
    heading = section.heading_trail[-1] + "\n" if section.heading_trail else ""
    return f"\n\n{heading}{section.text}".rstrip()


def _shared_trail(trail: Trail, sections: Sequence[Section], joining: Trail) -> Trail | None:
    """The trail of a group of sections with one more in it, or None if that one has another parent."""
    if not sections:
        return None
    parent = joining[:-1]
    if len(sections) == 1 and parent == trail[:-1]:
        return parent
    return trail if parent == trail else None


def _joined(header: str, body: Sequence[Piece]) -> str:
    text = "".join(piece.text for piece in body)
    text = text.strip("\n") if text.startswith("\n") else text.lstrip()
    return f"{header}\n{text}".strip("\n").rstrip()
