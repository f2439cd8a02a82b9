"""Which vector belongs to which chunk of a store that Llama Stack's own `inline::faiss` has written."""

import hashlib
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable

import numpy as np
from pydantic_core import from_json

from lightspeed.stack.providers.faiss_sqlite.chunks import Vectors
from lightspeed.stack.providers.faiss_sqlite.flat_index import FlatIndex

NumberedTexts = Iterable[tuple[int | None, bytes]]


class StockVectors:
    """Finds the vector of each chunk, which is the row of its number.

    But when the last chunk of all is deleted, the stack's index leaves its text behind, and numbers all chunks that
    are added later too high. So where there are more texts than rows, the copy of its vector in a chunk counts: a
    chunk whose vector stands in no row was deleted.
    """

    def __init__(self, index: FlatIndex, count: int, texts: Callable[[], NumberedTexts]) -> None:
        """`count` is the number of texts, and `texts` begins to read them. Raises what reading raises."""
        self._index = index
        self._living = _living(index, texts()) if count > index.count else None

    def vector(self, number: int | None, text: bytes) -> Vectors | None:
        """None if the chunk was deleted, or never had one."""
        own = _own_vector(text, self._index.dimension) if self._living is not None else None
        if own is not None and self._living is not None:
            return own if number in self._living else None
        return self._index.row(number) if number is not None and number < self._index.count else None


def _living(index: FlatIndex, texts: NumberedTexts) -> frozenset[int]:
    """The numbers of the chunks whose vectors the index holds."""
    held = Counter(_digest(index.row(row)) for row in range(index.count))
    claims: dict[bytes, list[int]] = defaultdict(list)
    for number, text in texts:
        own = _own_vector(text, index.dimension)
        if number is not None and own is not None:
            claims[_digest(own)].append(number)
    # Of equal ones, such as those of a file that was deleted and added again, the first were deleted.
    return frozenset(
        number
        for digest, numbers in claims.items()
        for number in sorted(numbers)[max(len(numbers) - held[digest], 0) :]
    )


def _own_vector(text: bytes, dimension: int) -> Vectors | None:
    """The vector that a chunk carries; `text` is a JSON string that holds JSON."""
    try:
        stored = from_json(from_json(text))
        with np.errstate(over="ignore"):
            vector = np.array(stored["embedding"], "<f4")
    except (ValueError, TypeError, LookupError):
        return None
    return vector if vector.shape == (dimension,) else None


def _digest(vector: Vectors) -> bytes:
    return hashlib.blake2b(vector.tobytes(), digest_size=16).digest()
