"""Keyword search: BM25 by SQLite's full-text index."""

# ruff: noqa: S608 (what is put into SQL are constants; values are parameters)

import json
import sqlite3
import threading
from collections.abc import Sequence

import numpy as np

from lightspeed.stack.providers.faiss_sqlite.chunks import Positions, Ranking, Scores, ranking
from lightspeed.stack.providers.faiss_sqlite.filters import Condition
from lightspeed.stack.providers.faiss_sqlite.terms import query_terms

# FTS5 takes 1.5 µs for each chunk that holds a term and is ranked, 0.04 µs to count it. So rare terms
# choose the chunks, and the others only add to their scores: in 100,000 chunks a question of ten words
# takes 10 ms instead of 160, for 0.01 to 0.02 of nDCG@10 at most. Smaller stores are searched in full.
_CHOSEN_CHUNKS = 8_000
_WEIGHED_CHUNKS = 50_000

_READ_SIGNS = 32_768
_MOST_TERMS = 64
_COUNTED_TERMS = 512
_KNOWN_COUNTS = 20_000

# Where the score is one half. BM25 has no upper bound: a rare term found once in a chunk of mean length
# brings about ln(chunks / chunks with the term).
_HALF = 20.0


class KeywordSearch:
    """Finds chunks by their words, and remembers how frequent words are."""

    def __init__(self) -> None:
        self._counts: dict[str, int] = {}
        self._counted_at = 0
        self._lock = threading.Lock()

    def search(
        self, connection: sqlite3.Connection, text: str, limit: int, condition: Condition | None = None
    ) -> Ranking:
        """The best chunks for a question or a list of words; nothing in `text` is syntax.

        The score of a chunk with the BM25 value b is b / (b + 20).
        """
        choosing, weighing = self._terms(connection, text)
        if not choosing:
            return ranking(np.empty(0, np.int64), np.empty(0), limit)
        expression = _any_of(choosing)
        if weighing:
            expression = f"({expression}) AND ({_any_of(choosing + weighing)})"
        if condition is None:
            statement = "SELECT rowid, -rank FROM terms WHERE terms MATCH ? ORDER BY rank LIMIT ?"
            parameters = [expression, limit]
        else:
            # CROSS JOIN: the index goes first, so that it sorts and the condition is tried until enough fit.
            statement = (
                "SELECT terms.rowid, -rank FROM terms CROSS JOIN chunks ON chunks.position = terms.rowid "
                f"WHERE terms MATCH ? AND {condition.sql} ORDER BY rank LIMIT ?"
            )
            parameters = [expression, *condition.parameters, limit]
        positions, scores = _scored(connection.execute(statement, parameters))
        return ranking(positions, scores, limit)

    def scores(self, connection: sqlite3.Connection, text: str, positions: Positions) -> Scores:
        """The scores of given chunks, in their order; 0 for those without a word of `text`."""
        choosing, weighing = self._terms(connection, text)
        scores = np.zeros(len(positions))
        if not choosing or not len(positions):
            return scores
        # The sign keeps SQLite from asking the index once for each position; only what fits is ranked.
        found, values = _scored(
            connection.execute(
                "SELECT rowid, -rank FROM terms WHERE terms MATCH ? AND +rowid IN (SELECT value FROM json_each(?))",
                (_any_of(choosing + weighing), json.dumps(positions.tolist())),
            )
        )
        order = np.argsort(positions)
        scores[order[np.searchsorted(positions, found, sorter=order)]] = values
        return scores

    def _terms(self, connection: sqlite3.Connection, text: str) -> tuple[list[str], list[str]]:
        """Those that choose chunks, and those that only weigh them."""
        counts = self._counted(connection, query_terms(text[:_READ_SIGNS])[:_COUNTED_TERMS])
        present = [(count, _quoted(word)) for count, word in sorted(counts) if count][:_MOST_TERMS]
        choosing = _within(present, _CHOSEN_CHUNKS) or present[:1]
        weighing = _within(present[len(choosing) :], _WEIGHED_CHUNKS)
        return [term for _, term in choosing], [term for _, term in weighing]

    def _counted(self, connection: sqlite3.Connection, words: list[str]) -> list[tuple[int, str]]:
        """How many chunks hold each word, to about a tenth."""
        (last,) = connection.execute("SELECT coalesce(max(position), 0) FROM chunks").fetchone()
        with self._lock:
            if abs(last - self._counted_at) > self._counted_at // 10 or len(self._counts) > _KNOWN_COUNTS:
                self._counts = {}
                self._counted_at = last
            known = self._counts
        for word in words:
            if word not in known:
                statement = "SELECT count(*) FROM terms WHERE terms MATCH ?"
                (known[word],) = connection.execute(statement, (_quoted(word),)).fetchone()
        return [(known[word], word) for word in words]


def _scored(found: sqlite3.Cursor) -> tuple[Positions, Scores]:
    rows = found.fetchall()
    positions = np.array([position for position, _ in rows], np.int64)
    weights = np.array([weight for _, weight in rows], np.float64)
    return positions, weights / (weights + _HALF)


def _any_of(terms: Sequence[str]) -> str:
    return " OR ".join(terms)


def _quoted(word: str) -> str:
    # A single sign of a script without spaces stands in pairs only.
    return f'"{word}"*' if len(word) == 1 and not word.isascii() else f'"{word}"'


def _within(terms: list[tuple[int, str]], budget: int) -> list[tuple[int, str]]:
    """The first terms that together are in at most `budget` chunks."""
    fitting: list[tuple[int, str]] = []
    for count, term in terms:
        budget -= count
        if budget < 0:
            break
        fitting.append((count, term))
    return fitting
