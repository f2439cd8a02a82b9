"""The vectors of a store in memory, kept in step with its database."""

import json
import logging
import sqlite3
import threading
from dataclasses import dataclass
from typing import Literal

import numpy as np

from lightspeed.errors import StorageError
from lightspeed.stack.providers.faiss_sqlite import rows
from lightspeed.stack.providers.faiss_sqlite.approximate import ApproximateIndex, Snapshot, SnapshotDamaged
from lightspeed.stack.providers.faiss_sqlite.chunks import Positions, Ranking, Vectors, ranking
from lightspeed.stack.providers.faiss_sqlite.database import Database
from lightspeed.stack.providers.faiss_sqlite.vectors import VectorMatrix, cosines

logger = logging.getLogger(__name__)

IndexKind = Literal["auto", "exact"]

_LARGEST_TAIL = 0.1
_MOST_DEAD = 0.25
_WORTH_COMPACTING = 1024
_LAST_POSITION = 2**63 - 1


@dataclass(frozen=True, slots=True)
class _Held:
    """What is searched: older chunks by the approximate index, the others exactly."""

    matrix: VectorMatrix
    older: ApproximateIndex | None = None


class VectorIndex:
    """Finds the chunks nearest to a query, in the newest state that any process has committed."""

    def __init__(
        self, database: Database, dimension: int, *, kind: IndexKind, approximate_above: int
    ) -> None:
        """`auto` uses an approximate index, if there is one, and wants one above so many chunks."""
        self._database = database
        self._dimension = dimension
        self._kind = kind
        self._approximate_above = approximate_above
        self._lock = threading.Lock()
        self._watcher: sqlite3.Connection | None = None
        self._epoch = -1
        self._version = -1
        self._refused: str | None = None
        self.resets = 0
        self._reset("")

    @property
    def live(self) -> int:
        """How many chunks there are, as of the last refresh."""
        held = self._held
        return len(held.matrix) - held.matrix.dead + (len(held.older) if held.older else 0)

    @property
    def approximate(self) -> bool:
        return self._held.older is not None

    @property
    def held_bytes(self) -> int:
        """Bytes of vectors in memory that no other process shares."""
        return self._held.matrix.held_bytes

    @property
    def rebuild_due(self) -> bool:
        """Whether the approximate index is missing or holds too little of what there is."""
        if self._kind == "exact" or self.live <= self._approximate_above:
            return False
        held = self._held
        if held.older is None:
            return True
        count = held.older.snapshot.count
        return len(held.matrix) > _LARGEST_TAIL * count or held.older.dead > _MOST_DEAD * count

    def refresh(self) -> None:
        """Read what has been committed since; costs microseconds if that is nothing. Raises NotFound, StorageError."""
        self._database.check()
        with self._lock:
            if self._watcher is None or self._epoch != self._database.epoch:
                self._close_watcher()
                self._epoch = self._database.epoch
                self._watcher = self._database.watcher()
                self._version = -1
            # Before the reading: what is committed meanwhile is noticed the next time.
            version = self._database.version(self._watcher)
            if version != self._version:
                with self._database.read() as connection:
                    self._read(connection)
                self._version = version

    def search(self, query: Vectors, limit: int, allowed: Positions | None = None) -> Ranking:
        """The nearest chunks to a query of length 1 by cosine, as of the last refresh; `allowed` are sorted."""
        held = self._held
        found = held.matrix.search(query, limit, allowed)
        if held.older is None:
            return found
        candidates = held.older.candidates(query, limit, allowed)
        with self._database.read() as connection:
            positions, vectors = rows.vectors_at(connection, candidates, self._dimension)
        return ranking(
            np.concatenate([positions, found.positions]),
            np.concatenate([cosines(query, vectors), found.scores]),
            limit,
        )

    def close(self) -> None:
        with self._lock:
            self._close_watcher()

    def _close_watcher(self) -> None:
        if self._watcher is not None:
            self._watcher.close()
            self._watcher = None

    def _reset(self, generation: str) -> None:
        """Forget everything. `resets` tells others that positions may mean other chunks now."""
        self.resets += 1
        self._generation = generation
        self._held = _Held(VectorMatrix(self._dimension))
        self._last = 0
        self._deletions: int | None = None

    def _read(self, connection: sqlite3.Connection) -> None:
        properties = dict(connection.execute("SELECT name, value FROM properties").fetchall())
        if properties["dimension"] != self._dimension:
            raise StorageError(
                f"Knowledge store {self._database.folder.name} has been made again with vectors of "
                f"{properties['dimension']} dimensions."
            )
        oldest, newest = connection.execute(
            "SELECT coalesce(min(sequence), 1), coalesce(max(sequence), 0) FROM deletions"
        ).fetchone()
        if properties["generation"] != self._generation or self._out_of_step(connection, oldest, newest):
            self._reset(properties["generation"])
        # First, because the index that is adopted then is without them already.
        self._apply_deletions(connection, newest)
        self._adopt(connection, properties.get("snapshot"), oldest)
        self._append(connection)

    def _out_of_step(self, connection: sqlite3.Connection, oldest: int, newest: int) -> bool:
        """Whether the log has forgotten what is needed, or an older copy was put back in place."""
        if self._deletions is None:
            return False
        row = connection.execute("SELECT seq FROM sqlite_sequence WHERE name = 'chunks'").fetchone()
        return not oldest - 1 <= self._deletions <= newest or (row[0] if row else 0) < self._last

    def _adopt(self, connection: sqlite3.Connection, stored: str | None, oldest: int) -> None:
        """Use the approximate index that the database names, if it is a new one."""
        snapshot = Snapshot(**json.loads(stored)) if stored and self._kind == "auto" else None
        held = self._held.older
        if snapshot is None or snapshot.name == self._refused or (held and held.snapshot == snapshot):
            return
        try:
            older = ApproximateIndex(self._database.folder, snapshot)
        except SnapshotDamaged as error:
            logger.warning("The approximate index is made anew: %s", error)
            self._refused = snapshot.name
            return
        if snapshot.deletions >= oldest - 1:
            gone = connection.execute(
                "SELECT position FROM deletions WHERE sequence > ?", (snapshot.deletions,)
            )
            older.remove(_positions(gone))
        else:
            older.keep(rows.live_positions(connection, snapshot.covered))
        self._held = _Held(self._held.matrix.compacted(above=snapshot.covered), older)
        self._last = max(self._last, snapshot.covered)

    def _apply_deletions(self, connection: sqlite3.Connection, newest: int) -> None:
        if self._deletions is not None and newest > self._deletions:
            found = connection.execute(
                "SELECT position FROM deletions WHERE sequence > ?", (self._deletions,)
            )
            gone = self._held.matrix.remove(_positions(found))
            if self._held.older:
                self._held.older.remove(gone)
            matrix = self._held.matrix
            if matrix.dead > _MOST_DEAD * len(matrix) and len(matrix) > _WORTH_COMPACTING:
                self._held = _Held(matrix.compacted(), self._held.older)
        self._deletions = newest

    def _append(self, connection: sqlite3.Connection) -> None:
        for positions, vectors in rows.vectors_between(
            connection, self._last, _LAST_POSITION, self._dimension
        ):
            self._held.matrix.append(positions, vectors)
            self._last = int(positions[-1])


def _positions(found: sqlite3.Cursor) -> Positions:
    return np.array([position for (position,) in found], np.int64)
