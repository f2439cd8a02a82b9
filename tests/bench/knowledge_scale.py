"""`python -m tests.bench.knowledge_scale MEASUREMENT FOLDER`: one measurement in a process of its own, as JSON."""

import asyncio
import json
import os
import sqlite3
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

from lightspeed.stack.providers.faiss_sqlite.chunks import NewChunk, Vectors
from lightspeed.stack.providers.faiss_sqlite.store import ChunkStore, StoreSettings
from lightspeed.stack.providers.faiss_sqlite.vectors import faiss, faiss_threads
from tests.stack.providers.faiss_sqlite_data import ClusteredVectors

DIMENSION = 384
CHUNKS = 100_000
BATCH = 500
STOCK_BATCHES = 10
MANY = 1_000_000
_MANY_BATCH = 5000
_EXACT = StoreSettings(index="exact")
_QUERIES = 200
_RESULTS = 10
_PAGE = os.sysconf("SC_PAGE_SIZE")


class Texts:
    """Texts of one vocabulary, its words as frequent as those of a language; reproducible by the seed."""

    def __init__(self, seed: int = 0) -> None:
        letters, random = np.array(list("etaoinsrhldcumfpgwybvkxjqz")), np.random.default_rng(0)
        self._words = np.array(["".join(random.choice(letters, n)) for n in random.integers(2, 11, 50_000)])
        self._random = np.random.default_rng(seed + 1)

    def text(self, words: int) -> str:
        return " ".join(self._words[np.minimum(self._random.zipf(1.15, words), len(self._words)) - 1])

    def kilobyte(self) -> str:
        return self.text(200)[:1024]


def chunks(texts: Callable[[], str], first: int, count: int) -> list[NewChunk]:
    return [
        NewChunk(
            f"doc{row // 20}-{row % 20}",
            texts(),
            f"doc{row // 20}",
            None,
            {
                "document_id": f"doc{row // 20}",
                "title": f"Document {row // 20}",
                "docs_url": f"https://docs.example.com/{row // 20}",
                "position": row % 20,
                "version": f"4.{row // 20 % 20}",
                "content_hash": f"{row // 20:064x}",
            },
            200,
        )
        for row in range(first, first + count)
    ]


def ingest(folder: Path) -> dict[str, Any]:
    """Batches of 500 into an empty store; a search sees each before the next comes."""
    texts = Texts()
    store = ChunkStore(folder / "kb", DIMENSION, _EXACT)
    before = resident()
    seconds: list[float] = []
    peak = 0.0
    for number, vectors in enumerate(ClusteredVectors(CHUNKS).batches(BATCH)):
        batch = chunks(texts.kilobyte, number * BATCH, BATCH)
        started = time.perf_counter()
        store.insert(batch, vectors)
        seconds.append(time.perf_counter() - started)
        store.refresh()
        if number >= 20:
            peak = max(peak, (resident() - before) / ((number + 1) * vectors.nbytes))
    tenth = len(seconds) // 10
    return {
        "total": sum(seconds),
        "ratio": median(seconds[-tenth:]) / median(seconds[:tenth]),
        "resident": (resident() - before) / _raw(CHUNKS),
        "peak": peak,
        "disk": store.size(),
    }


def stock(folder: Path) -> dict[str, Any]:
    """The seconds of each batch of 500 with the stack's own provider. Each writes everything anew."""
    return {"seconds": asyncio.run(_stock(folder))}


async def _stock(folder: Path) -> list[float]:
    from llama_stack.core.storage.datatypes import KVStoreReference, SqliteKVStoreConfig
    from llama_stack.core.storage.kvstore import kvstore_impl, register_kvstore_backends
    from llama_stack.providers.inline.vector_io.faiss.faiss import FaissIndex
    from llama_stack_api import ChunkMetadata, EmbeddedChunk

    register_kvstore_backends({"bench": SqliteKVStoreConfig(db_path=str(folder / "stock.db"))})
    kvstore = await kvstore_impl(KVStoreReference(backend="bench", namespace="bench"))
    index = await FaissIndex.create(DIMENSION, kvstore, "bench")
    texts = Texts()
    seconds: list[float] = []
    for number, vectors in enumerate(ClusteredVectors(STOCK_BATCHES * BATCH).batches(BATCH)):
        batch = [
            EmbeddedChunk(
                content=chunk.content,
                chunk_id=chunk.id,
                metadata=dict(chunk.metadata),
                chunk_metadata=ChunkMetadata(chunk_id=chunk.id, document_id=chunk.document_id),
                embedding=vector.tolist(),
                embedding_model="bench",
                embedding_dimension=DIMENSION,
            )
            for chunk, vector in zip(chunks(texts.kilobyte, number * BATCH, BATCH), vectors, strict=True)
        ]
        started = time.perf_counter()
        await index.add_chunks(batch)
        seconds.append(time.perf_counter() - started)
    await kvstore.shutdown()
    return seconds


def search(folder: Path) -> dict[str, Any]:
    """Opening the store that `ingest` has left, and searching it beside a bare FAISS call and bare SQL."""
    before = resident()
    started = time.perf_counter()
    store = ChunkStore(folder / "kb", DIMENSION, _EXACT)
    store.refresh()
    opened = time.perf_counter() - started
    held = (resident() - before) / _raw(CHUNKS)
    source, texts = ClusteredVectors(CHUNKS), Texts(1)
    bare = faiss.IndexFlatIP(DIMENSION)
    for vectors in source.batches(BATCH):
        bare.add(vectors)
    version = {"type": "eq", "key": "version", "value": "4.7"}
    filtered = time.perf_counter()
    store.search_vector(np.ones(DIMENSION), 1, filters=version)
    first_filter = time.perf_counter() - filtered
    with closing(sqlite3.connect(folder / "kb" / "chunks.db", isolation_level=None)) as connection:

        def bare_search(vector: Vectors, _: str) -> None:
            with faiss_threads(1):
                _, rows = bare.search(vector[np.newaxis], _RESULTS)
            positions = [int(row) + 1 for row in rows[0]]
            found = connection.execute(
                f"SELECT * FROM chunks WHERE position IN ({','.join('?' * 10)})", positions
            )
            assert len([json.loads(row[6]) for row in found]) == _RESULTS

        taken = _in_turns(
            [
                bare_search,
                lambda vector, _: store.search_vector(vector, _RESULTS),
                lambda vector, _: store.search_vector(vector, _RESULTS, filters=version),
                lambda _, text: store.search_keyword(text, _RESULTS),
                lambda vector, text: store.search_hybrid(text, vector, _RESULTS),
            ],
            [(vector, texts.text(10)) for vector in source.queries(_QUERIES)],
        )
    return {
        "open": opened,
        "resident": held,
        "first_filter": first_filter,
        **dict(zip(("bare", "vector", "filtered", "keyword", "hybrid"), taken, strict=True)),
    }


def million(folder: Path) -> dict[str, Any]:
    """A million vectors: the approximate index against an exact search."""
    source = ClusteredVectors(MANY, seed=3)
    queries = source.queries(_QUERIES)
    store = ChunkStore(folder / "kb", DIMENSION, _EXACT)
    started = time.perf_counter()
    exact = [(-np.inf, "")]
    nearest = [list(exact) for _ in queries]
    for number, vectors in enumerate(source.batches(_MANY_BATCH)):
        batch = chunks(lambda: "text", number * _MANY_BATCH, _MANY_BATCH)
        store.insert(batch, vectors)
        similarities, rows = faiss.knn(queries, vectors, _RESULTS, metric=faiss.METRIC_INNER_PRODUCT)
        for best, values, found in zip(nearest, similarities, rows, strict=True):
            best += [(float(value), batch[row].id) for value, row in zip(values, found, strict=True)]
            best[:] = sorted(best, reverse=True)[:_RESULTS]
    ingested = time.perf_counter() - started
    store.close()
    store = ChunkStore(folder / "kb", DIMENSION, StoreSettings(build_threads=2))
    started = time.perf_counter()
    store.build_index()
    built = time.perf_counter() - started
    store.close()
    return {"ingest": ingested, "build": built, "nearest": [[name for _, name in best] for best in nearest]}


def million_search(folder: Path, nearest: Sequence[Sequence[str]]) -> dict[str, Any]:
    """Opening and searching what `million` has left."""
    queries = ClusteredVectors(MANY, seed=3).queries(_QUERIES)
    before = resident()
    started = time.perf_counter()
    store = ChunkStore(folder / "kb", DIMENSION)
    store.refresh()
    opened = time.perf_counter() - started
    hits = 0
    for query, expected in zip(queries, nearest, strict=True):
        hits += len({one.chunk.id for one in store.search_vector(query, _RESULTS)} & set(expected))
    (taken,) = _in_turns(
        [lambda vector, _: store.search_vector(vector, _RESULTS)], [(one, "") for one in queries]
    )
    return {
        "open": opened,
        "approximate": store.index.approximate,
        "recall": hits / (_QUERIES * _RESULTS),
        "vector": taken,
        "resident": resident() - before,
        "index": sum(path.stat().st_size for path in (folder / "kb").glob("*.faiss")),
        "disk": store.size(),
    }


def resident() -> int:
    """Bytes of memory of this process."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * _PAGE


def _raw(count: int) -> int:
    return count * DIMENSION * 4


def _in_turns(
    works: Sequence[Callable[[Vectors, str], object]], questions: Sequence[tuple[Vectors, str]]
) -> Iterator[float]:
    """The median milliseconds of each, all asked the same in turns so that noise meets them all."""
    taken: list[list[float]] = [[] for _ in works]
    for vector, text in questions:
        for work, seconds in zip(works, taken, strict=True):
            started = time.perf_counter()
            work(vector, text)
            seconds.append(time.perf_counter() - started)
    return (1000 * median(seconds) for seconds in taken)


def main() -> None:
    folder = Path(sys.argv[2])
    match sys.argv[1]:
        case "ingest":
            result = ingest(folder)
        case "stock":
            result = stock(folder)
        case "search":
            result = search(folder)
        case "million":
            result = million(folder)
        case _:
            result = million_search(folder, json.load(sys.stdin))
    json.dump(result, sys.stdout)


if __name__ == "__main__":
    main()
