"""One vector store: chunks of documents in a folder, found by meaning and by words."""

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from lightspeed.stack.providers.faiss_sqlite import rows
from lightspeed.stack.providers.faiss_sqlite.allowed import AllowedPositions
from lightspeed.stack.providers.faiss_sqlite.chunks import (
    Chunk,
    NewChunk,
    Positions,
    Ranking,
    ScoredChunk,
    Vectors,
)
from lightspeed.stack.providers.faiss_sqlite.database import Database
from lightspeed.stack.providers.faiss_sqlite.filters import condition
from lightspeed.stack.providers.faiss_sqlite.folders import destroy, remove_destroyed
from lightspeed.stack.providers.faiss_sqlite.fusion import Fusion, fuse
from lightspeed.stack.providers.faiss_sqlite.index import IndexKind, VectorIndex
from lightspeed.stack.providers.faiss_sqlite.keyword import KeywordSearch
from lightspeed.stack.providers.faiss_sqlite.metadata import storable_name
from lightspeed.stack.providers.faiss_sqlite.snapshots import SnapshotBuilder
from lightspeed.stack.providers.faiss_sqlite.vectors import checked, cosines, normalized

Filters = Mapping[str, Any]

_FUSED_CHUNKS = 100
_ATTEMPTS = 3


@dataclass(frozen=True, slots=True)
class StoreSettings:
    """`index`: exact, or auto: approximate for more than `approximate_above` chunks.

    `busy_timeout`: seconds to wait for other writers. `build_threads`: cores that build an approximate index.
    """

    index: IndexKind = "auto"
    approximate_above: int = 200_000
    busy_timeout: float = 30.0
    build_threads: int = 1


class ChunkStore:
    """Synchronous, and safe to use from many threads and processes at once.

    An insert or delete is all or nothing, and durable when it returns; every later search sees it, in any process.

    All calls raise NotFound when the folder has been removed, Unavailable when other writers hold it for too
    long, and StorageError when it cannot be read or written.
    """

    def __init__(self, folder: Path, dimension: int, settings: StoreSettings | None = None) -> None:
        """Open the store in `folder`, or make it. Raises ValueError if it holds vectors of another dimension."""
        if dimension < 1:
            raise ValueError(f"The dimension is at least 1, not {dimension}.")
        settings = settings or StoreSettings()
        self.folder = folder
        self.dimension = dimension
        self._database = Database(folder, busy_timeout=settings.busy_timeout)
        self._database.open(dimension)
        self._index = VectorIndex(
            self._database, dimension, kind=settings.index, approximate_above=settings.approximate_above
        )
        self._builder = SnapshotBuilder(self._database, dimension, threads=settings.build_threads)
        self._keyword = KeywordSearch()
        self._allowed = AllowedPositions(self._database)
        remove_destroyed(folder)

    @property
    def index(self) -> VectorIndex:
        return self._index

    def insert(self, chunks: Sequence[NewChunk], vectors: Any, *, replacing: Collection[str] = ()) -> None:
        """Store chunks with their vectors (chunks x dimension), in place of chunks with the same ids.

        Documents whose ids are in `replacing` go with all their chunks, in the same transaction. Of chunks with
        the same id the last counts. Raises ValueError for an empty id and for a vector that is all zeros, not
        finite, or of another dimension.
        """
        rows_to_store = checked(vectors, [f"chunk {chunk.id!r}" for chunk in chunks], self.dimension)
        for chunk in chunks:
            _check_names(chunk)
        last = {chunk.id: row for row, chunk in enumerate(chunks)}
        kept = sorted(last.values())
        with self._database.write() as connection:
            outdated = set(rows.positions_of(connection, "chunk_id", last))
            outdated.update(rows.positions_of(connection, "document_id", replacing))
            rows.delete(connection, sorted(outdated))
            rows.insert(connection, [chunks[row] for row in kept], rows_to_store[kept])

    def delete_chunks(self, ids: Collection[str]) -> int:
        """Remove chunks; unknown ids are passed over. Returns how many chunks went."""
        return self._delete("chunk_id", ids)

    def delete_documents(self, ids: Collection[str]) -> int:
        """Remove documents with all their chunks. Returns how many chunks went."""
        return self._delete("document_id", ids)

    def delete_file(self, file_id: str) -> int:
        """Remove all chunks of a file. Returns how many chunks went."""
        return self._delete("file_id", [file_id])

    def search_vector(
        self, vector: Any, limit: int, *, filters: Filters | None = None, score_threshold: float = 0.0
    ) -> list[ScoredChunk]:
        """The chunks nearest by cosine, best first; what points the other way scores 0.

        Raises ValueError for a filter that is wrong and for a vector as `insert` does.
        """
        query = self._query(vector)

        def search() -> Ranking:
            self.refresh()
            return self._index.search(query, limit, self._allowed_by(filters))

        return self._found(search, limit, score_threshold)

    def search_keyword(
        self, text: str, limit: int, *, filters: Filters | None = None, score_threshold: float = 0.0
    ) -> list[ScoredChunk]:
        """The chunks that hold words of `text`, by BM25; in `text` nothing is syntax."""

        def search() -> Ranking:
            if filters:
                # What is remembered of filters counts only as long as positions mean the same chunks.
                self.refresh()
            allowed = self._allowed_by(filters)
            with self._database.read() as connection:
                return self._keyword.search(connection, text, limit, allowed, self._share(allowed))

        return self._found(search, limit, score_threshold)

    def search_hybrid(
        self,
        text: str,
        vector: Any,
        limit: int,
        *,
        filters: Filters | None = None,
        score_threshold: float = 0.0,
        fusion: Fusion | None = None,
    ) -> list[ScoredChunk]:
        """Both searches in one ranking; see `Fusion` for the scores."""
        query = self._query(vector)
        method = fusion or Fusion()
        found = max(_FUSED_CHUNKS, 2 * limit)

        def search() -> Ranking:
            self.refresh()
            allowed = self._allowed_by(filters)
            near = self._index.search(query, found, allowed)
            with self._database.read() as connection:
                if method.method != "linear":
                    words = self._keyword.search(connection, text, found, allowed, self._share(allowed))
                    return fuse(near, words, method, limit)
                # Each chunk that one of them found has its score in both.
                words = self._keyword.search(connection, text, None, allowed, self._share(allowed))
                unseen = np.setdiff1d(words.positions[:found], near.positions)
                positions, vectors = rows.vectors_at(connection, unseen, self.dimension)
            near = near.extended(positions, cosines(query, vectors))
            return fuse(near, words.only(near.positions), method, limit)

        return self._found(search, limit, score_threshold)

    def count(self) -> int:
        """How many chunks there are."""
        with self._database.read() as connection:
            (count,) = connection.execute("SELECT count(*) FROM chunks").fetchone()
        return int(count)

    def documents(self) -> dict[str, str]:
        """The content hash of each document by its id, from the metadata `content_hash`; "" if there is none."""
        with self._database.read() as connection:
            return rows.document_hashes(connection)

    def documents_where(self, filters: Filters) -> list[str]:
        """The ids of the documents with a chunk that a filter allows. Raises ValueError for a wrong filter."""
        wanted = condition(filters)
        with self._database.read() as connection:
            return rows.documents_where(connection, wanted)

    def chunks(self, ids: Sequence[str]) -> list[Chunk]:
        """Those of the chunks that are there, in the order of the ids."""
        with self._database.read() as connection:
            found = rows.chunks_at(connection, rows.positions_of(connection, "chunk_id", ids))
        by_id = {chunk.id: chunk for chunk in found.values()}
        return [by_id[name] for name in ids if name in by_id]

    def vectors(self, chunks: Sequence[Chunk]) -> Vectors:
        """The vectors as they were given (chunks x dimension); zeros for chunks that are there no more."""
        positions = np.array([chunk.position for chunk in chunks], np.int64)
        with self._database.read() as connection:
            found, vectors = rows.vectors_at(connection, positions, self.dimension)
        place = {position: row for row, position in enumerate(found.tolist())}
        given = np.zeros((len(chunks), self.dimension), np.float32)
        for row, chunk in enumerate(chunks):
            if chunk.position in place:
                given[row] = vectors[place[chunk.position]]
        return given

    def chunks_of_document(self, document_id: str) -> list[Chunk]:
        """In reading order, as far as the metadata `chunk_index` or `position` tell it, else as inserted."""
        with self._database.read() as connection:
            return rows.chunks_where(connection, "document_id", document_id)

    def chunks_of_file(self, file_id: str) -> list[Chunk]:
        """In the same order as those of a document."""
        with self._database.read() as connection:
            return rows.chunks_where(connection, "file_id", file_id)

    def neighbours(self, chunk: Chunk, count: int = 1) -> tuple[list[Chunk], list[Chunk]]:
        """Up to `count` chunks just before and after one in its document; none if its metadata tell no order."""
        with self._database.read() as connection:
            return rows.neighbours(connection, chunk.position, count)

    def export(self, batch: int = 500) -> Iterator[tuple[list[Chunk], Vectors]]:
        """All chunks with their vectors as they were given, in order, each batch as of its own moment."""
        last = 0
        while True:
            with self._database.read() as connection:
                chunks, vectors = rows.exported(connection, last, batch, self.dimension)
            if not chunks:
                return
            yield chunks, vectors
            last = chunks[-1].position

    def refresh(self) -> None:
        """Read into memory what is new. Every vector search does that; call it first to have the store ready."""
        self._index.refresh()
        if self._index.rebuild_due:
            self._builder.start()

    def build_index(self) -> bool:
        """Build the approximate index now, whatever the size. False if another process is building it."""
        return self._builder.build()

    def size(self) -> int:
        """Bytes on disk."""
        return self._database.size()

    def close(self) -> None:
        """End a running build and close the database."""
        self._builder.stop()
        self._index.close()
        self._database.close()

    def destroy(self) -> None:
        """Close the store and remove its folder with all that is in it; other processes find it gone."""
        self.close()
        destroy(self.folder)

    def _delete(self, column: str, values: Collection[str]) -> int:
        with self._database.write() as connection:
            positions = rows.positions_of(connection, column, values)
            rows.delete(connection, positions)
        return len(positions)

    def _query(self, vector: Any) -> Vectors:
        query: Vectors = normalized(checked([vector], ["the query"], self.dimension))[0]
        return query

    def _allowed_by(self, filters: Filters | None) -> Positions | None:
        """Sorted positions, None for all; as of the last refresh."""
        if not filters:
            return None
        return self._allowed.positions(filters, live=self._index.live, resets=self._index.resets)

    def _share(self, allowed: Positions | None) -> float:
        """How many of all chunks these are, from 0 to 1."""
        return 1.0 if allowed is None else min(len(allowed) / max(self._index.live, 1), 1.0)

    def _found(self, search: Callable[[], Ranking], limit: int, score_threshold: float) -> list[ScoredChunk]:
        if limit < 1:
            return []
        for _ in range(_ATTEMPTS):
            best = search()
            kept = best.scores >= score_threshold
            positions = best.positions[kept].tolist()
            with self._database.read() as connection:
                chunks = rows.chunks_at(connection, positions)
            if len(chunks) == len(positions):
                break
            # Some were deleted between the search and the reading: there may be others to find.
        scored = zip(positions, best.scores[kept].tolist(), strict=True)
        return [ScoredChunk(chunks[position], score) for position, score in scored if position in chunks]


def _check_names(chunk: NewChunk) -> None:
    if not chunk.id:
        raise ValueError("A chunk needs an id.")
    for name in (chunk.id, chunk.document_id, chunk.file_id):
        if name is not None and storable_name(name) is None:
            raise ValueError(
                f"The name {name!r} of a chunk, document or file holds signs that cannot be stored."
            )
