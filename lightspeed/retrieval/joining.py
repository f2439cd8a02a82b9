"""Passages that stand side by side in a document, joined to one."""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from lightspeed.retrieval.references import Chunk

_PLACE_KEYS = ("chunk_index", "position")
_LONGEST_OVERLAP = 2000
_SHORTEST_OVERLAP = 12
_TABLE_HEADER = re.compile(r"\|.*\n\|[ :|-]+\n")


@dataclass(slots=True)
class Run:
    """Neighbours by their place in the document; `best` is the first that was found."""

    best: Chunk
    parts: dict[int, Chunk] = field(default_factory=dict)

    def joined(self) -> Chunk:
        """All parts as one passage, with the score and the attributes of the best."""
        return self._joined(sorted(self.parts))

    def within(self, fits: Callable[[Chunk], bool]) -> Chunk | None:
        """The best part with as many of those around it as fit, the nearest first; None if not even it does."""
        whole = self.joined()
        if fits(whole):
            return whole
        if not fits(self.best):
            return None
        kept, found = [place for place in self.parts if self.parts[place] is self.best], self.best
        open_ends = [1, -1] if kept else []
        while open_ends:
            step = open_ends.pop(0)
            place = (max(kept) if step > 0 else min(kept)) + step
            if place in self.parts:
                larger = self._joined(sorted([*kept, place]))
                if fits(larger):
                    kept.append(place)
                    found = larger
                    open_ends.append(step)
        return found

    def _joined(self, places: Sequence[int]) -> Chunk:
        if len(places) < 2:
            return self.best
        content = ""
        for place in places:
            part = self.parts[place].content
            content = joined_texts(content, part) if content else part
        return Chunk(content, self.best.source, self.best.score, self.best.attributes)


def runs_of(chunks: Sequence[Chunk], limit: int) -> list[Run]:
    """The first `limit` passages, best first; one that stands beside a better one is joined to it."""
    runs: list[Run] = []
    for chunk in chunks:
        place = place_of(chunk)
        beside = [] if place is None else [run for run in runs if _touches(run, chunk, place)]
        if not beside:
            if len(runs) < limit:
                runs.append(Run(chunk, {} if place is None else {place: chunk}))
            continue
        first, *others = beside
        assert place is not None
        first.parts.setdefault(place, chunk)
        for other in others:
            # The new one closes the gap between the two.
            first.parts.update(other.parts)
            runs.remove(other)
    return runs


def place_of(chunk: Chunk) -> int | None:
    """Where a passage stands in its document, if its attributes tell."""
    for key in _PLACE_KEYS:
        value = chunk.attributes.get(key)
        if isinstance(value, int) and not isinstance(value, bool):
            return value
    return None


def joined_texts(first: str, second: str) -> str:
    """Two passages in reading order as one: what both begin with stands there once, and so does an overlap.

    Both may begin with a heading, and parts of one Markdown table with its header.
    """
    heading, _, rest = second.partition("\n")
    if rest and first.partition("\n")[0] == heading:
        second = rest
    second = second.lstrip("\n")
    table = _TABLE_HEADER.match(second)
    if table and table[0] in first and first.rpartition("\n")[2].startswith("|"):
        return f"{first}\n{second[table.end() :]}"
    for length in range(min(len(first), len(second), _LONGEST_OVERLAP), _SHORTEST_OVERLAP - 1, -1):
        if first.endswith(second[:length]):
            return first + second[length:]
    return f"{first}\n{second}"


def _touches(run: Run, chunk: Chunk, place: int) -> bool:
    document = chunk.attributes.get("document_id")
    return (
        document is not None
        and run.best.source == chunk.source
        and run.best.attributes.get("document_id") == document
        and any(abs(place - other) <= 1 for other in run.parts)
    )
