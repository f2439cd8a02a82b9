"""Vectors as FAISS reads them, and the exact search over those of a store."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, cast

import faiss as _faiss
import numpy as np
import numpy.typing as npt

from lightspeed.stack.providers.faiss_sqlite.chunks import Positions, Ranking, Scores, Vectors, ranking

# The types that it ships lack most of it.
faiss: Any = _faiss

_FIRST_BLOCK = 256
_LARGEST_BLOCK = 8192

# The square of a length fits into a float32.
_SHORTEST, _LONGEST = 1e-18, 1e18


@contextmanager
def faiss_threads(count: int) -> Iterator[None]:
    """FAISS computes on `count` cores for this thread; other threads keep their own setting.

    One is right for a single query: two threads take twice as long as one.
    """
    before = faiss.omp_get_max_threads()
    faiss.omp_set_num_threads(count)
    try:
        yield
    finally:
        faiss.omp_set_num_threads(before)


def checked(vectors: Any, names: Sequence[str], dimension: int) -> Vectors:
    """Float32, one row for each name. Raises ValueError that names the first vector that cannot be searched.

    Besides zeros and values that are not finite, that is a length beyond 1e-18 to 1e18.
    """
    if len(vectors) != len(names):
        raise ValueError(f"{len(names)} chunks need as many vectors, not {len(vectors)}.")
    for name, vector in zip(names, vectors, strict=True):
        if np.shape(vector) != (dimension,):
            raise ValueError(f"The vector of {name} has the shape {np.shape(vector)}, not ({dimension},).")
    with np.errstate(over="ignore"):
        rows = np.ascontiguousarray(vectors, dtype=np.float32).reshape(len(names), dimension)
    unusable = np.flatnonzero(~usable(rows))
    if unusable.size:
        row = unusable[0]
        what = (
            "is all zeros" if np.all(np.abs(rows[row]) <= _SHORTEST) else "holds values that are not finite"
        )
        raise ValueError(f"The vector of {names[row]} {what}.")
    return rows


def usable(vectors: Vectors) -> npt.NDArray[np.bool_]:
    """Which rows have a length that cosines can be computed of."""
    with np.errstate(over="ignore", invalid="ignore"):
        lengths = _lengths(vectors)
    return (lengths > _SHORTEST) & (lengths < _LONGEST)


def normalized(vectors: Vectors) -> Vectors:
    """Rows scaled to length 1; none may be zero."""
    return cast("Vectors", vectors / _lengths(vectors)[:, np.newaxis])


def cosines(query: Vectors, vectors: Vectors) -> Scores:
    """Cosine similarity of a query of length 1 and rows of any length; negative ones become 0."""
    if not len(vectors):
        return np.empty(0)
    return bounded(normalized(vectors) @ query)


def bounded(similarities: npt.NDArray[Any]) -> Scores:
    return np.clip(similarities.astype(np.float64), 0.0, 1.0)


class VectorMatrix:
    """Normalised vectors in memory, in the order of their positions, without an object for each.

    They lie in blocks that stay where they are: growing copies nothing and leaves at most a block empty.
    One thread may change the matrix while others search it.
    """

    def __init__(self, dimension: int) -> None:
        self._dimension = dimension
        self._blocks: list[Vectors] = []
        self._starts: list[int] = []
        self._positions = np.empty(_FIRST_BLOCK, np.int64)
        self._alive = np.empty(_FIRST_BLOCK, np.bool_)
        self._rows = 0
        self.dead = 0

    def __len__(self) -> int:
        """How many rows there are, dead ones included."""
        return self._rows

    @property
    def held_bytes(self) -> int:
        """Bytes that are allocated; the system gives memory only for what has been written."""
        blocks = sum(block.nbytes for block in self._blocks)
        return blocks + self._positions.nbytes + self._alive.nbytes

    def append(self, positions: Positions, vectors: Vectors) -> None:
        """Add rows; positions count up beyond those that are there. Vectors need not be normalised."""
        while self._rows + len(positions) > len(self._positions):
            # New arrays, because searches may still read the old ones.
            self._positions = np.concatenate([self._positions, np.empty_like(self._positions)])
            self._alive = np.concatenate([self._alive, np.empty_like(self._alive)])
        done = 0
        while done < len(positions):
            block, used = self._free_block()
            count = min(len(block) - used, len(positions) - done)
            block[used : used + count] = normalized(vectors[done : done + count])
            self._positions[self._rows : self._rows + count] = positions[done : done + count]
            self._alive[self._rows : self._rows + count] = True
            # Last: searches look at as many rows as this says.
            self._rows += count
            done += count

    def remove(self, positions: Positions) -> Positions:
        """Mark rows as dead; returns the positions that are not here."""
        rows, here = self._rows_of(positions)
        self.dead += int(np.count_nonzero(self._alive[rows]))
        self._alive[rows] = False
        return positions[~here]

    def compacted(self, *, above: int = 0) -> "VectorMatrix":
        """A copy of the live rows with positions beyond `above`."""
        copy = VectorMatrix(self._dimension)
        for block, start in zip(self._blocks, self._starts, strict=True):
            end = min(start + len(block), self._rows)
            kept = self._alive[start:end] & (self._positions[start:end] > above)
            copy.append(self._positions[start:end][kept], block[: end - start][kept])
        return copy

    def search(self, query: Vectors, limit: int, allowed: Positions | None = None) -> Ranking:
        """The live rows nearest to a query of length 1; `allowed` are sorted positions."""
        rows, positions = self._rows, self._positions
        chosen: npt.NDArray[np.bool_] | None = None
        if allowed is not None:
            chosen = np.zeros(rows, np.bool_)
            chosen[self._rows_of(allowed, rows)[0]] = True
            chosen &= self._alive[:rows]
        elif self.dead:
            chosen = self._alive[:rows]
        found_rows, similarities = [np.empty(0, np.int64)], [np.empty(0, np.float32)]
        with faiss_threads(1):
            for block, start in zip(list(self._blocks), list(self._starts), strict=False):
                count = min(len(block), rows - start)
                if count <= 0 or (chosen is not None and not chosen[start : start + count].any()):
                    continue
                part = chosen[start : start + count] if chosen is not None else None
                indices, values = _nearest(query, block[:count], limit, part)
                found_rows.append(indices + start)
                similarities.append(values)
        return ranking(positions[np.concatenate(found_rows)], bounded(np.concatenate(similarities)), limit)

    def _free_block(self) -> tuple[Vectors, int]:
        if self._blocks:
            used = self._rows - self._starts[-1]
            if used < len(self._blocks[-1]):
                return self._blocks[-1], used
        size = min(max(self._rows, _FIRST_BLOCK), _LARGEST_BLOCK)
        self._blocks.append(np.empty((size, self._dimension), np.float32))
        self._starts.append(self._rows)
        return self._blocks[-1], 0

    def _rows_of(
        self, positions: Positions, rows: int | None = None
    ) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.bool_]]:
        """The rows of those positions that are here, and which those are."""
        held = self._positions[: self._rows if rows is None else rows]
        places = np.searchsorted(held, positions)
        here = places < len(held)
        here[here] = held[places[here]] == positions[here]
        return places[here], here


def _nearest(
    query: Vectors, block: Vectors, limit: int, chosen: npt.NDArray[np.bool_] | None
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.float32]]:
    """Rows of a block and their inner products with the query."""
    values = np.empty(limit, np.float32)
    indices = np.empty(limit, np.int64)
    bits = None if chosen is None else np.packbits(chosen, bitorder="little")
    faiss.knn_inner_product(
        faiss.swig_ptr(query),
        faiss.swig_ptr(block),
        block.shape[1],
        1,
        len(block),
        limit,
        faiss.swig_ptr(values),
        faiss.swig_ptr(indices),
        None if bits is None else faiss.IDSelectorBitmap(bits),
    )
    found = indices >= 0
    return indices[found], values[found]


def _lengths(vectors: Vectors) -> Vectors:
    return cast("Vectors", np.sqrt(np.einsum("ij,ij->i", vectors, vectors)))
