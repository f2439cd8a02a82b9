"""Building the approximate index of a store."""

import math
import os
import secrets
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from lightspeed.stack.providers.faiss_sqlite.approximate import Snapshot, candidates, checksum
from lightspeed.stack.providers.faiss_sqlite.chunks import Positions, Vectors
from lightspeed.stack.providers.faiss_sqlite.vectors import faiss, faiss_threads, normalized

_FILE_PATTERN = "approximate-*.faiss"
_PARTIAL_PATTERN = ".approximate-*.partial"

_TRAINED_ON = 64  # vectors for each list
_ITERATIONS = 8
_SEED = 1

# The number of probes is tried out with points halfway between two stored vectors. With the questions of a FAQ, which
# lie farther from all passages than passages from each other, 0.99 of those meant 0.95.
_TRIED_QUERIES = 200
_TRIED_RESULTS = 10
_RECALL = 0.99
_FIRST_PROBES = 8

# Points halfway between unlike vectors are harder than any question. Of a million vectors a fifth is read in 16 ms.
_MOST_PROBED = 0.2
_ALWAYS_ALLOWED_PROBES = 64


class Stopped(Exception):
    """The build was told to stop."""


class Source(Protocol):
    """The live vectors of a store, each of length 1.

    `count` chunks at positions up to `covered`; deletions up to number `deletions` have happened before.
    """

    count: int
    covered: int
    deletions: int

    def sample(self, count: int) -> Vectors: ...
    def batches(self) -> Iterator[tuple[Positions, Vectors]]: ...
    def stored(self, positions: Positions) -> tuple[Positions, Vectors]: ...


@dataclass(slots=True)
class _Trial:
    """Queries, and the nearest positions that a search of everything finds for them."""

    queries: Vectors
    nearest: Positions
    similarities: Vectors

    def see(self, positions: Positions, vectors: Vectors) -> None:
        limit = self.nearest.shape[1]
        similarities, rows = faiss.knn(
            self.queries, vectors, min(limit, len(vectors)), metric=faiss.METRIC_INNER_PRODUCT
        )
        values = np.hstack([self.similarities, similarities])
        candidates = np.hstack([self.nearest, positions[rows]])
        best = np.argsort(-values, axis=1)[:, :limit]
        self.similarities = np.take_along_axis(values, best, axis=1)
        self.nearest = np.take_along_axis(candidates, best, axis=1)


def build(folder: Path, source: Source, *, threads: int, stopped: Callable[[], bool]) -> Snapshot:
    """Write an index file and tell what it is. Takes 40 s for a million vectors of 384 dimensions on one core.

    Raises Stopped soon after `stopped` says so, and OSError; then nothing is left behind.
    """
    lists = number_of_lists(source.count)
    sample = source.sample(min(source.count, max(_TRAINED_ON * lists, 2 * _TRIED_QUERIES)))
    trial = _trial(sample)
    with faiss_threads(threads):
        index = _trained(sample, lists, stopped)
        del sample
        for positions, vectors in source.batches():
            _go_on(stopped)
            index.add_with_ids(vectors, positions)
            trial.see(positions, vectors)
    probes = _probes(index, trial, source, stopped)
    name = f"approximate-{source.covered}-{secrets.token_hex(4)}.faiss"
    size, check = _write(folder, name, index)
    # Chunks that went while they were read count: their deletions come after number `source.deletions`.
    return Snapshot(name, size, check, source.count, source.covered, source.deletions, probes)


def number_of_lists(count: int) -> int:
    """About the root of `count`: more lists make searches faster and training longer."""
    return 1 << round(math.log2(max(count, 1)) / 2)


def remove_others(folder: Path, kept: str) -> None:
    """Remove index files that are not `kept`; those who have one mapped keep it. Call it while nobody builds."""
    for pattern in (_FILE_PATTERN, _PARTIAL_PATTERN):
        for path in folder.glob(pattern):
            if path.name != kept:
                path.unlink(missing_ok=True)


def _trained(sample: Vectors, lists: int, stopped: Callable[[], bool]) -> Any:
    dimension = sample.shape[1]
    clustering = faiss.Kmeans(
        dimension,
        lists,
        niter=1,
        spherical=True,
        seed=_SEED,
        min_points_per_centroid=1,
        max_points_per_centroid=len(sample),
    )
    centroids = None
    for _ in range(_ITERATIONS):
        _go_on(stopped)
        clustering.train(sample, init_centroids=centroids)
        centroids = clustering.centroids
    quantizer = faiss.IndexFlatIP(dimension)
    quantizer.add(centroids)
    index = faiss.IndexIVFScalarQuantizer(
        quantizer, dimension, lists, faiss.ScalarQuantizer.QT_8bit, faiss.METRIC_INNER_PRODUCT
    )
    index.train(sample)
    return index


def _trial(sample: Vectors) -> _Trial:
    generator = np.random.default_rng(_SEED)
    chosen = generator.permutation(len(sample))[: 2 * _TRIED_QUERIES]
    half = len(chosen) // 2
    queries = normalized(sample[chosen[:half]] + sample[chosen[half : 2 * half]])
    return _Trial(
        queries,
        np.full((half, _TRIED_RESULTS), -1, np.int64),
        np.full((half, _TRIED_RESULTS), -np.inf, np.float32),
    )


def _probes(index: Any, trial: _Trial, source: Source, stopped: Callable[[], bool]) -> int:
    """How many lists to search, so that the queries of the trial find nearly all they should."""
    lists: int = index.nlist
    most = min(lists, max(_ALWAYS_ALLOWED_PROBES, int(_MOST_PROBED * lists)))
    probes = min(_FIRST_PROBES, most)
    while probes < most:
        _go_on(stopped)
        if _recall(index, trial, source, probes) >= _RECALL:
            break
        probes = min(2 * probes, most)
    return probes


def _recall(index: Any, trial: _Trial, source: Source, probes: int) -> float:
    hits = 0
    for query, expected in zip(trial.queries, trial.nearest, strict=True):
        positions, vectors = source.stored(candidates(index, query, len(expected), probes))
        best = positions[np.argsort(-(vectors @ query))[: len(expected)]]
        hits += np.intersect1d(best, expected).size
    return hits / trial.nearest.size


def _write(folder: Path, name: str, index: Any) -> tuple[int, int]:
    """Size and checksum of the file that holds the index."""
    temporary = folder / f".approximate-{secrets.token_hex(4)}.partial"
    try:
        descriptor = os.open(temporary, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC, 0o600)
        try:
            faiss.write_index(index, str(temporary))
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
        written = temporary.stat().st_size, checksum(temporary)
        temporary.rename(folder / name)
    except RuntimeError as error:
        temporary.unlink(missing_ok=True)
        raise OSError(str(error)) from error
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    _sync(folder)
    return written


def _sync(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _go_on(stopped: Callable[[], bool]) -> None:
    if stopped():
        raise Stopped
