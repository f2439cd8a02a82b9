"""`python -m tests.stack.providers.faiss_sqlite_writer FOLDER FIRST`: writes until it is killed.

Batch after batch, each a document whose chunks hold a word of its own; every third one replaces the one before.
A line with the number of the batch tells that it is stored.
"""

import sys
from itertools import count
from pathlib import Path

import numpy as np

from lightspeed.stack.providers.faiss_sqlite.store import ChunkStore
from tests.stack.providers.faiss_sqlite_data import chunk

DIMENSION = 16
CHUNKS = 40


def replaced(number: int) -> int | None:
    """The batch that batch `number` replaces."""
    return number - 1 if number % 3 == 2 else None


def main() -> None:
    store = ChunkStore(Path(sys.argv[1]), DIMENSION)
    for number in count(int(sys.argv[2])):
        name = f"batch{number}"
        chunks = [chunk(f"{name}-{row}", f"the {name} text {row}", document_id=name) for row in range(CHUNKS)]
        vectors = np.random.default_rng(number).standard_normal((CHUNKS, DIMENSION))
        store.insert(
            chunks, vectors, replacing=[f"batch{number - 1}"] if replaced(number) is not None else []
        )
        sys.stdout.write(f"{number}\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
