"""Headings and blocks of text, in reading order, to sections."""

from lightspeed.documents.formats.encoding import encodable
from lightspeed.documents.formats.format import Section


class Outline:
    """Collects a document's headings (levels 1 to 6) and blocks of text.

    A heading without text becomes a section only if no deeper heading follows: otherwise that one's
    trail already holds it.
    """

    def __init__(self) -> None:
        self.first_heading: str | None = None
        self._trail: list[tuple[int, str]] = []
        self._blocks: list[str] = []
        self._sections: list[Section] = []
        self._bare_heading = False

    def heading(self, level: int, text: str) -> None:
        text = encodable(text)
        if not text:
            return
        deeper = bool(self._trail) and level > self._trail[-1][0]
        self._close(keep_bare=not deeper)
        while self._trail and self._trail[-1][0] >= level:
            self._trail.pop()
        self._trail.append((level, text))
        self._bare_heading = True
        self.first_heading = self.first_heading or text

    def text(self, block: str) -> None:
        block = encodable(block.rstrip().lstrip("\n"))
        if block:
            self._blocks.append(block)

    def sections(self) -> tuple[Section, ...]:
        self._close(keep_bare=True)
        return tuple(self._sections)

    def _close(self, *, keep_bare: bool) -> None:
        if self._blocks or (self._bare_heading and keep_bare):
            trail = tuple(text for _, text in self._trail)
            self._sections.append(Section(trail, "\n\n".join(self._blocks)))
        self._blocks = []
        self._bare_heading = False
