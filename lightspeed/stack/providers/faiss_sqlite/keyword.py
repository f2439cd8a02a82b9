"""Keyword search: BM25 by SQLite's full-text index."""

import sqlite3
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np

from lightspeed.stack.providers.faiss_sqlite.chunks import Positions, Ranking, ranking
from lightspeed.stack.providers.faiss_sqlite.terms import is_half_a_pair, query_terms

# FTS5 takes 1.5 µs for each chunk that holds a term and is ranked, 0.04 µs to count it. So rare terms
# choose the chunks, and the others only add to their scores: in 100,000 chunks a question of ten words
# takes 10 ms instead of 160, for 0.01 to 0.02 of nDCG@10 at most. Smaller stores are searched in full.
_CHOSEN_CHUNKS = 8_000
_WEIGHED_CHUNKS = 50_000

# A chunk that a filter does not allow is passed over, which takes so much of the time of ranking it. Where rare
# terms are in such chunks only, the next ones choose, until so many chunks have been seen.
_PASSED_OVER = 0.15
_SEEN_CHUNKS = 200_000

_READ_SIGNS = 32_768
_MOST_TERMS = 64
_COUNTED_TERMS = 512
_KNOWN_COUNTS = 20_000
_OFTEN = 1_000

# Where the score is one half. BM25 has no upper bound: a rare term found once in a chunk of mean length
# brings about ln(chunks / chunks with the term).
_HALF = 20.0

_BEST = "SELECT rowid, -rank FROM terms WHERE terms MATCH ? ORDER BY rank LIMIT ?"
_ALL = "SELECT rowid, -bm25(terms) FROM terms WHERE terms MATCH ?"
_ALLOWED = (
    "SELECT rowid, -bm25(terms) FROM terms WHERE terms MATCH ? AND rowid BETWEEN ? AND ? AND allowed(rowid)"
)

_Terms = list[tuple[int, str]]


class KeywordSearch:
    """Finds chunks by their words, and remembers how frequent words are."""

    def __init__(self) -> None:
        self._counts: dict[str, int] = {}
        self._generation = ""
        self._changes = 0
        self._counted_at = 0
        self._lock = threading.Lock()

    def search(
        self,
        connection: sqlite3.Connection,
        text: str,
        limit: int | None,
        allowed: Positions | None = None,
        share: float = 1.0,
    ) -> Ranking:
        """The best chunks for a question or a list of words; nothing in `text` is syntax.

        Without a limit all that are ranked, which are thousands. `allowed` are sorted, and `share` says how many of all chunks they are, from 0 to 1. The score of a
        chunk with the BM25 value b is b / (b + 20).
        """
        if allowed is not None and not len(allowed):
            return ranking(np.empty(0, np.int64), np.empty(0), 0)
        terms = self._terms(connection, text)
        budget = _CHOSEN_CHUNKS if allowed is None else _CHOSEN_CHUNKS / (share + _PASSED_OVER)
        found: list[tuple[int, float]] = []
        seen = 0
        while terms and not found and seen < _SEEN_CHUNKS:
            choosing = _within(terms, budget) or terms[:1]
            terms = terms[len(choosing) :]
            found = _found(connection, _expression(choosing, _within(terms, _WEIGHED_CHUNKS)), limit, allowed)
            seen += sum(count for count, _ in choosing)
        positions = np.array([position for position, _ in found], np.int64)
        weights = np.array([weight for _, weight in found], np.float64)
        return ranking(positions, weights / (weights + _HALF), len(found) if limit is None else limit)

    def _terms(self, connection: sqlite3.Connection, text: str) -> _Terms:
        """The words of a text that some chunk holds, the rarest first."""
        counts = self._counted(connection, query_terms(text[:_READ_SIGNS])[:_COUNTED_TERMS])
        return [(count, _quoted(word)) for count, word in sorted(counts) if count][:_MOST_TERMS]

    def _counted(self, connection: sqlite3.Connection, words: list[str]) -> _Terms:
        """How many chunks hold each word: exactly for a rare one, to about a tenth for a frequent one."""
        generation, changes = connection.execute(
            "SELECT (SELECT value FROM properties WHERE name = 'generation'), coalesce(sum(seq), 0) "
            "FROM sqlite_sequence"
        ).fetchone()
        with self._lock:
            grown = abs(changes - self._counted_at) > self._counted_at // 10
            if grown or generation != self._generation or len(self._counts) > _KNOWN_COUNTS:
                self._counts = {}
                self._counted_at = changes
            elif changes != self._changes:
                # Other searches may be adding to them.
                self._counts = {word: count for word, count in list(self._counts.items()) if count > _OFTEN}
            self._generation, self._changes = generation, changes
            known = self._counts
        for word in words:
            if word not in known:
                statement = "SELECT count(*) FROM terms WHERE terms MATCH ?"
                (known[word],) = connection.execute(statement, (_quoted(word),)).fetchone()
        return [(known[word], word) for word in words]


def _found(
    connection: sqlite3.Connection, expression: str, limit: int | None, allowed: Positions | None
) -> list[tuple[int, float]]:
    if allowed is None and limit is None:
        return connection.execute(_ALL, (expression,)).fetchall()
    if allowed is None:
        return connection.execute(_BEST, (expression, limit)).fetchall()
    first, last = int(allowed[0]), int(allowed[-1])
    with _function_allowed(connection, allowed - first, first):
        return connection.execute(_ALLOWED, (expression, first, last)).fetchall()


@contextmanager
def _function_allowed(connection: sqlite3.Connection, offsets: Positions, first: int) -> Iterator[None]:
    """In SQL `allowed(position)` is 1 for the positions at `offsets` from the first."""
    chosen = np.zeros(int(offsets[-1]) + 1, np.uint8)
    chosen[offsets] = 1
    flags = memoryview(chosen)
    connection.create_function("allowed", 1, lambda position: flags[position - first])
    try:
        yield
    finally:
        connection.create_function("allowed", 1, None)


def _expression(choosing: _Terms, weighing: _Terms) -> str:
    chosen = " OR ".join(term for _, term in choosing)
    if not weighing:
        return chosen
    return f"({chosen}) AND ({' OR '.join(term for _, term in choosing + weighing)})"


def _quoted(word: str) -> str:
    return f'"{word}"*' if is_half_a_pair(word) else f'"{word}"'


def _within(terms: _Terms, budget: float) -> _Terms:
    """The first terms that together are in at most `budget` chunks."""
    fitting: _Terms = []
    for count, term in terms:
        budget -= count
        if budget < 0:
            break
        fitting.append((count, term))
    return fitting
