"""The SQL of chunks and their vectors. Positions go in as one JSON parameter, so that any number fits."""

# ruff: noqa: S608 (what is put into SQL are constants; values are parameters)

import json
import sqlite3
from collections.abc import Collection, Iterator, Sequence
from typing import Any

import numpy as np

from lightspeed.stack.providers.faiss_sqlite.chunks import Chunk, NewChunk, Positions, Vectors
from lightspeed.stack.providers.faiss_sqlite.filters import Condition
from lightspeed.stack.providers.faiss_sqlite.metadata import (
    encoded,
    ordinal,
    sanitized,
    storable,
    storable_integer,
)

_COLUMNS = "position, chunk_id, content, document_id, file_id, metadata, token_count"
_IN_ORDER = "ORDER BY ordinal IS NULL, ordinal, position"
_READ_AT_ONCE = 1024

# A reader that has seen less than the log still tells reads everything anew.
_LOGGED_DELETIONS = 100_000


def insert(connection: sqlite3.Connection, chunks: Sequence[NewChunk], vectors: Vectors) -> None:
    """Store chunks whose ids are not there."""
    row = connection.execute("SELECT seq FROM sqlite_sequence WHERE name = 'chunks'").fetchone()
    first = (row[0] if row else 0) + 1
    contents = [storable(chunk.content) for chunk in chunks]
    connection.executemany(
        "INSERT INTO chunks (position, chunk_id, document_id, file_id, ordinal, token_count, metadata, content) "
        "VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
        (
            (position, *_values(chunk), content)
            for position, (chunk, content) in enumerate(zip(chunks, contents, strict=True), first)
        ),
    )
    connection.executemany(
        "INSERT INTO vectors VALUES (?, ?)",
        ((position, vector.tobytes()) for position, vector in enumerate(vectors.astype("<f4"), first)),
    )
    connection.executemany(
        "INSERT INTO terms (rowid, content) VALUES (?, searchable(?))", enumerate(contents, first)
    )


def delete(connection: sqlite3.Connection, positions: Sequence[int]) -> None:
    """Remove chunks that are there, and log it."""
    if not positions:
        return
    chosen = (json.dumps(positions),)
    # The index holds no texts; it needs what it was given to take it back.
    connection.execute(
        "INSERT INTO terms (terms, rowid, content) SELECT 'delete', position, searchable(content) FROM chunks "
        "WHERE position IN (SELECT value FROM json_each(?))",
        chosen,
    )
    connection.execute("DELETE FROM vectors WHERE position IN (SELECT value FROM json_each(?))", chosen)
    connection.execute("DELETE FROM chunks WHERE position IN (SELECT value FROM json_each(?))", chosen)
    connection.execute("INSERT INTO deletions (position) SELECT value FROM json_each(?)", chosen)
    connection.execute(
        "DELETE FROM deletions WHERE sequence <= (SELECT max(sequence) FROM deletions) - ?",
        (_LOGGED_DELETIONS,),
    )


def positions_of(connection: sqlite3.Connection, column: str, values: Collection[str]) -> list[int]:
    """Where `column` (chunk_id, document_id or file_id) has one of the values."""
    statement = f"SELECT position FROM chunks WHERE {column} IN (SELECT value FROM json_each(?))"
    found = connection.execute(statement, (json.dumps(list(values)),))
    return [position for (position,) in found]


def chunks_at(connection: sqlite3.Connection, positions: Sequence[int]) -> dict[int, Chunk]:
    """Those that are there."""
    found = connection.execute(
        f"SELECT {_COLUMNS} FROM chunks WHERE position IN (SELECT value FROM json_each(?))",
        (json.dumps(positions),),
    )
    return {row[0]: _chunk(row) for row in found}


def chunks_where(connection: sqlite3.Connection, column: str, value: str) -> list[Chunk]:
    """The chunks of a document or a file, in reading order."""
    statement = f"SELECT {_COLUMNS} FROM chunks WHERE {column} = ? {_IN_ORDER}"
    return [_chunk(row) for row in connection.execute(statement, (value,))]


def neighbours(connection: sqlite3.Connection, position: int, count: int) -> tuple[list[Chunk], list[Chunk]]:
    """The chunks before and after one in its document, in reading order."""
    row = connection.execute(
        "SELECT document_id, ordinal FROM chunks WHERE position = ?", (position,)
    ).fetchone()
    if row is None or None in row:
        return [], []
    select = f"SELECT {_COLUMNS} FROM chunks WHERE document_id = ? AND ordinal"
    before = connection.execute(f"{select} < ? ORDER BY ordinal DESC LIMIT ?", (*row, count)).fetchall()
    after = connection.execute(f"{select} > ? ORDER BY ordinal LIMIT ?", (*row, count)).fetchall()
    return [_chunk(row) for row in reversed(before)], [_chunk(row) for row in after]


def document_hashes(connection: sqlite3.Connection) -> dict[str, str]:
    """The content hash of each document, as the metadata of its newest chunk tell it; "" if they do not."""
    found = connection.execute(
        "SELECT document_id, coalesce(json_extract(metadata, '$.content_hash'), '') FROM chunks WHERE position IN "
        "(SELECT max(position) FROM chunks WHERE document_id IS NOT NULL GROUP BY document_id)"
    )
    return {document: str(content_hash) for document, content_hash in found}


def documents_where(connection: sqlite3.Connection, wanted: Condition) -> list[str]:
    """The ids of the documents with a chunk that fulfils a condition."""
    statement = (
        f"SELECT DISTINCT document_id FROM chunks WHERE document_id IS NOT NULL AND {wanted.sql} ORDER BY 1"
    )
    return [document for (document,) in connection.execute(statement, wanted.parameters)]


def vectors_at(
    connection: sqlite3.Connection, positions: Positions, dimension: int
) -> tuple[Positions, Vectors]:
    """Vectors as they were given, of those positions that are there, in the order of the positions."""
    found = connection.execute(
        "SELECT position, vector FROM vectors WHERE position IN (SELECT value FROM json_each(?)) ORDER BY position",
        (json.dumps(positions.tolist()),),
    ).fetchall()
    return _decoded(found, dimension)


def vectors_between(
    connection: sqlite3.Connection, after: int, until: int, dimension: int
) -> Iterator[tuple[Positions, Vectors]]:
    """Vectors at positions beyond `after` up to `until`, in order, in batches."""
    cursor = connection.execute(
        "SELECT position, vector FROM vectors WHERE position > ? AND position <= ? ORDER BY position",
        (after, until),
    )
    while found := cursor.fetchmany(_READ_AT_ONCE):
        yield _decoded(found, dimension)


def exported(
    connection: sqlite3.Connection, after: int, count: int, dimension: int
) -> tuple[list[Chunk], Vectors]:
    """The next chunks beyond a position, with their vectors."""
    found = connection.execute(
        f"SELECT {_COLUMNS}, vector FROM chunks JOIN vectors USING (position) "
        "WHERE position > ? ORDER BY position LIMIT ?",
        (after, count),
    ).fetchall()
    if found and found[-1][0] <= after:
        raise sqlite3.DataError("its chunks are out of order")
    return [_chunk(row[:-1]) for row in found], _decoded([(row[0], row[-1]) for row in found], dimension)[1]


def live_positions(connection: sqlite3.Connection, until: int) -> Positions:
    """All positions up to one, in order."""
    # Without a condition an index is read, which is smaller than the table.
    cursor = connection.execute("SELECT position FROM chunks")
    parts = [np.empty(0, np.int64)]
    while found := cursor.fetchmany(64 * _READ_AT_ONCE):
        parts.append(np.fromiter((position for (position,) in found), np.int64, len(found)))
    positions = np.sort(np.concatenate(parts))
    return positions[positions <= until]


def _values(chunk: NewChunk) -> tuple[Any, ...]:
    metadata = sanitized(chunk.metadata)
    return (
        chunk.id,
        chunk.document_id,
        chunk.file_id,
        ordinal(metadata),
        storable_integer(chunk.token_count),
        encoded(metadata),
    )


def _chunk(row: tuple[Any, ...]) -> Chunk:
    position, chunk_id, content, document_id, file_id, metadata, token_count = row
    try:
        scalars = json.loads(metadata)
    except (TypeError, ValueError) as error:
        raise sqlite3.DataError(f"the metadata of chunk {chunk_id!r} are damaged") from error
    return Chunk(position, chunk_id, content, document_id, file_id, scalars, token_count)


def _decoded(found: list[tuple[int, bytes]], dimension: int) -> tuple[Positions, Vectors]:
    try:
        positions = np.fromiter((position for position, _ in found), np.int64, len(found))
        joined = b"".join([vector for _, vector in found])
        return positions, np.frombuffer(joined, "<f4").reshape(len(found), dimension)
    except (TypeError, ValueError) as error:
        raise sqlite3.DataError("its vectors are damaged") from error
