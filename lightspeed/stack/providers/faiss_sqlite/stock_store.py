"""The stores of Llama Stack's own `inline::faiss`, read without changing anything.

Each is one JSON value in a table of keys and values: the chunks as JSON strings by row number, and the vectors
as base64 of a NumPy file that holds a flat FAISS index. Such a value has up to 1 GB, so it is read piece by piece.
"""

import os
import sqlite3
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np
from pydantic_core import from_json

from lightspeed.errors import NotFound, StorageError
from lightspeed.stack.providers.faiss_sqlite.chunks import NewChunk, Vectors
from lightspeed.stack.providers.faiss_sqlite.flat_index import FlatIndex
from lightspeed.stack.providers.faiss_sqlite.json_stream import JsonStream
from lightspeed.stack.providers.faiss_sqlite.metadata import storable_name
from lightspeed.stack.providers.faiss_sqlite.stock_chunks import ReadingReport, StockChunks
from lightspeed.stack.providers.faiss_sqlite.stock_vectors import StockVectors
from lightspeed.stack.providers.faiss_sqlite.vectors import usable

_INDEX_KEY = "faiss_index:v3::"
_STORE_KEY = "vector_stores:v3::"
_SHOWN = 40  # bytes of a key in messages
_LONGEST_NUMBER = 20  # signs, with the quotes


@dataclass(frozen=True, slots=True)
class StockStore:
    """A store in the file. `name` and what follows are null where the file does not tell."""

    id: str
    name: str | None = None
    embedding_model: str | None = None
    dimension: int | None = None


def stock_stores(path: Path) -> list[StockStore]:
    """The stores in a file that hold an index. Raises StorageError when it is no such file."""
    with opened(path) as connection:
        keys = connection.execute(
            "SELECT substr(key, ?) FROM kvstore WHERE key >= ? AND key < ? ORDER BY key",
            (len(_INDEX_KEY) + 1, _INDEX_KEY, _INDEX_KEY + "\uffff"),
        )
        return [_described(connection, store) for (store,) in keys.fetchall()]


type _Found = tuple[int, NewChunk, Vectors]


class StockStoreReader:
    """Reads one store; a context manager. Raises NotFound, and StorageError when the store cannot be read."""

    def __init__(self, path: Path, store: str) -> None:
        self.report = ReadingReport()
        self._path = path
        self._store = store
        self._open = ExitStack()
        self._parser = StockChunks(store, self.report)

    def __enter__(self) -> Self:
        with ExitStack() as opening:
            connection = opening.enter_context(opened(self._path))
            key = (f"{_INDEX_KEY}{self._store}",)
            found = connection.execute("SELECT rowid FROM kvstore WHERE key = ?", key).fetchone()
            if found is None:
                raise NotFound("Vector store", self._store)
            with self._translated():
                blobs = [
                    opening.enter_context(connection.blobopen("kvstore", "value", found[0], readonly=True))
                    for _ in range(2)
                ]
                self._text = blobs[0]
                self._chunks_at, self._texts, encoded = _places(self._text)
                self._vectors = FlatIndex(blobs[1], *encoded)
            self._open = opening.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._open.close()

    @property
    def dimension(self) -> int:
        return self._vectors.dimension

    @property
    def count(self) -> int:
        """How many vectors there are."""
        return self._vectors.count

    def batches(self, size: int = 500) -> Iterator[tuple[list[NewChunk], Vectors]]:
        """The chunks with their vectors, once; `report` tells what was wrong with the others."""
        found: list[_Found] = []
        with self._translated():
            for one in self._parsed():
                found.append(one)
                if len(found) == size:
                    yield self._batch(found)
                    found = []
            if found:
                yield self._batch(found)
        without = self._vectors.count - self.report.read - self.report.skipped
        if without > 0:
            self.report.problems.append(f"{without} vectors have no chunk")

    def _parsed(self) -> Iterator[_Found]:
        vectors = StockVectors(self._vectors, self._texts, self._numbered_texts)
        for key, number, text in self._members():
            if text is None:
                self.report.skip(f"chunk {key}: it is no string")
                continue
            vector = vectors.vector(number, text)
            if number is None or vector is None:
                self.report.skip(f"chunk {key}: there is no vector for it")
                continue
            chunk = self._parser.chunk(number, text)
            if chunk is not None:
                yield number, chunk, vector

    def _numbered_texts(self) -> Iterator[tuple[int | None, bytes]]:
        return ((number, text) for _, number, text in self._members() if text is not None)

    def _members(self) -> Iterator[tuple[str, int | None, bytes | None]]:
        """What stands before each chunk, the number that this is, and the string of the chunk."""
        stream = JsonStream(self._text, self._chunks_at)
        for key in stream.members():
            yield key[1:-1][:_SHOWN].decode(errors="replace"), _row_number(key), stream.string_or_other()

    def _batch(self, found: list[_Found]) -> tuple[list[NewChunk], Vectors]:
        vectors = np.stack([vector for _, _, vector in found])
        good = usable(vectors)
        for place in np.flatnonzero(~good):
            self.report.skip(f"chunk {found[place][0]}: its vector is all zeros or not finite")
        kept = [chunk for (_, chunk, _), is_good in zip(found, good, strict=True) if is_good]
        self.report.read += len(kept)
        return kept, vectors[good]

    @contextmanager
    def _translated(self) -> Iterator[None]:
        try:
            yield
        except (ValueError, sqlite3.Error) as error:
            raise StorageError(
                f"Vector store {self._store} in {self._path} cannot be read: {error}"
            ) from error


@contextmanager
def opened(path: Path) -> Iterator[sqlite3.Connection]:
    """Such a file, to be read only. Raises StorageError."""
    try:
        options = "mode=ro&immutable=1" if _is_at_rest(path) else "mode=ro"
        with closing(sqlite3.connect(f"{path.absolute().as_uri()}?{options}", uri=True)) as connection:
            # One row that is no UTF-8 must not hide the others.
            connection.text_factory = lambda text: text.decode(errors="replace")
            yield connection
    except (sqlite3.Error, OSError) as error:
        if left := _left_by_writer(path):
            raise StorageError(
                f"{path} cannot be opened for reading only, because its last writer has left {left} beside it: "
                f"open it once with the program that wrote it ({error})"
            ) from error
        raise StorageError(f"{path} is not a database of vector stores: {error}") from error


def _is_at_rest(path: Path) -> bool:
    """Whether nobody can be writing, or no lock can be held: then SQLite must not put its files beside it."""
    with path.open("rb") as file:
        uses_log = file.read(20)[18:] == b"\x02\x02"
    if not os.access(path.parent, os.W_OK):
        return _left_by_writer(path) is None
    return uses_log and not Path(f"{path}-wal").exists()


def _left_by_writer(path: Path) -> str | None:
    """The file without which the database is not whole, if there is one."""
    for ending in ("-wal", "-journal"):
        with suppress(OSError):
            if Path(f"{path}{ending}").stat().st_size:
                return f"{path.name}{ending}"
    return None


def parsed(value: Any) -> dict[str, Any]:
    """The object that a value of the table holds, empty if it holds none."""
    try:
        found = from_json(value)
    except (ValueError, TypeError):
        return {}
    return found if isinstance(found, dict) else {}


def _described(connection: sqlite3.Connection, store: str) -> StockStore:
    row = connection.execute("SELECT value FROM kvstore WHERE key = ?", (f"{_STORE_KEY}{store}",)).fetchone()
    described = parsed(row[0]) if row else {}
    dimension = described.get("embedding_dimension")
    return StockStore(
        store,
        storable_name(described.get("vector_store_name")),
        storable_name(described.get("embedding_model")),
        dimension if isinstance(dimension, int) else None,
    )


def _places(value: sqlite3.Blob) -> tuple[int, int, tuple[int, int]]:
    """Where the object of chunks begins, how many there are, and where the text of the index begins and ends."""
    stream = JsonStream(value)
    chunks: int | None = None
    count = 0
    index: tuple[int, int] | None = None
    for key in stream.members():
        if key == b'"chunk_by_index"':
            chunks = stream.at
            count = stream.skip_members()
        elif key == b'"faiss_index"':
            index = stream.skip_plain_string()
        else:
            stream.string_or_other()
    if chunks is None or index is None:
        raise ValueError("it has no chunks or no index")
    return chunks, count, index


def _row_number(key: bytes) -> int | None:
    return int(key[1:-1]) if key[1:-1].isdigit() and len(key) <= _LONGEST_NUMBER else None
