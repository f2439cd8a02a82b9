"""When and where the approximate index of a store is built: in the background, by one process at a time."""

import fcntl
import json
import logging
import os
import sqlite3
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict

import numpy as np

from lightspeed.errors import RequestError, StorageError
from lightspeed.stack.providers.faiss_sqlite import rows
from lightspeed.stack.providers.faiss_sqlite.building import Stopped, build, remove_others
from lightspeed.stack.providers.faiss_sqlite.chunks import Positions, Vectors
from lightspeed.stack.providers.faiss_sqlite.database import Database
from lightspeed.stack.providers.faiss_sqlite.vectors import normalized

logger = logging.getLogger(__name__)

_LOCK_FILE = "approximate.lock"
_BATCH = 16_384
_SAMPLED_AT_ONCE = 4096
_RETRY_SECONDS = 300.0


class StoredVectors:
    """The vectors of a database for the building of an index. They are read in parts, so that no writer waits long."""

    def __init__(self, database: Database, dimension: int) -> None:
        self._database = database
        self._dimension = dimension
        with database.read() as connection:
            self.generation = _generation(connection)
            (self.deletions,) = connection.execute(
                "SELECT coalesce(max(sequence), 0) FROM deletions"
            ).fetchone()
            (last,) = connection.execute("SELECT coalesce(max(position), 0) FROM chunks").fetchone()
            self._positions = rows.live_positions(connection, last)
        self.covered = int(last)
        self.count = len(self._positions)

    def sample(self, count: int) -> Vectors:
        generator = np.random.default_rng(self.count)
        chosen = np.sort(generator.choice(self._positions, min(count, self.count), replace=False))
        parts = [
            self.stored(chosen[start : start + _SAMPLED_AT_ONCE])[1]
            for start in range(0, len(chosen), _SAMPLED_AT_ONCE)
        ]
        return np.concatenate(parts)

    def batches(self) -> Iterator[tuple[Positions, Vectors]]:
        for start in range(0, self.count, _BATCH):
            part = self._positions[start : start + _BATCH]
            with self._database.read() as connection:
                for positions, vectors in rows.vectors_between(
                    connection, int(part[0]) - 1, int(part[-1]), self._dimension
                ):
                    yield positions, normalized(vectors)

    def stored(self, positions: Positions) -> tuple[Positions, Vectors]:
        with self._database.read() as connection:
            there, vectors = rows.vectors_at(connection, positions, self._dimension)
        return there, normalized(vectors)


class SnapshotBuilder:
    """Builds the approximate index of one store; readers find it through the database."""

    def __init__(self, database: Database, dimension: int, *, threads: int) -> None:
        self._database = database
        self._dimension = dimension
        self._threads = threads
        self._stopping = threading.Event()
        self._one_start = threading.Lock()
        self._thread: threading.Thread | None = None
        self._not_before = 0.0

    def start(self) -> None:
        """Build in the background, unless that is happening, or has just failed."""
        with self._one_start:
            running = self._thread is not None and self._thread.is_alive()
            if running or self._stopping.is_set() or time.monotonic() < self._not_before:
                return
            name = f"index of {self._database.folder.name}"
            self._thread = threading.Thread(target=self._run, name=name, daemon=True)
            self._thread.start()

    def build(self) -> bool:
        """Build now. False if another process is at it, the store is empty or made anew meanwhile, or this is stopped.

        Raises NotFound, Unavailable, StorageError.
        """
        try:
            with self._alone() as alone:
                return alone and self._build()
        except Stopped:
            return False
        except OSError as error:
            raise StorageError(f"Knowledge store {self._database.folder.name}: {error}") from error

    def stop(self) -> None:
        """End a build that is running; it takes a second or two."""
        self._stopping.set()
        if self._thread is not None:
            self._thread.join()

    def _build(self) -> bool:
        folder = self._database.folder
        source = StoredVectors(self._database, self._dimension)
        if not source.count:
            return False
        snapshot = build(folder, source, threads=self._threads, stopped=self._stopping.is_set)
        with self._database.write() as connection:
            if _generation(connection) != source.generation:
                (folder / snapshot.name).unlink(missing_ok=True)
                return False
            connection.execute(
                "INSERT OR REPLACE INTO properties VALUES ('snapshot', ?)", (json.dumps(asdict(snapshot)),)
            )
        remove_others(folder, snapshot.name)
        return True

    def _run(self) -> None:
        name, started = self._database.folder.name, time.monotonic()
        self._not_before = started + _RETRY_SECONDS
        try:
            if self.build():
                self._not_before = 0.0
                seconds = time.monotonic() - started
                logger.info("The approximate index of knowledge store %s was built in %.0f s", name, seconds)
        except (RequestError, RuntimeError, MemoryError) as error:
            logger.warning("The approximate index of knowledge store %s cannot be built: %s", name, error)

    @contextmanager
    def _alone(self) -> Iterator[bool]:
        """Whether no other process builds; the lock ends with the process."""
        descriptor = os.open(self._database.folder / _LOCK_FILE, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
        try:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                yield False
            else:
                yield True
        finally:
            os.close(descriptor)


def _generation(connection: sqlite3.Connection) -> str:
    (generation,) = connection.execute("SELECT value FROM properties WHERE name = 'generation'").fetchone()
    return str(generation)
