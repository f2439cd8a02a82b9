"""Taking over stores of the stack's own `inline::faiss`."""

import json
import logging
import secrets
import shutil
from collections.abc import Callable
from dataclasses import replace
from glob import escape
from pathlib import Path
from typing import Any

from lightspeed.errors import NotFound, StartupError, StorageError
from lightspeed.stack.providers.faiss_sqlite.attachments import insert_attachment
from lightspeed.stack.providers.faiss_sqlite.catalog import Catalog
from lightspeed.stack.providers.faiss_sqlite.chunks import NewChunk
from lightspeed.stack.providers.faiss_sqlite.folders import folder_name
from lightspeed.stack.providers.faiss_sqlite.stock_chunks import ReadingReport
from lightspeed.stack.providers.faiss_sqlite.stock_records import StockRecord, stock_record
from lightspeed.stack.providers.faiss_sqlite.stock_store import StockStoreReader, stock_stores
from lightspeed.stack.providers.faiss_sqlite.store import ChunkStore
from lightspeed.stack.providers.faiss_sqlite.store_records import StoreRecord, set_columns

logger = logging.getLogger(__name__)

_TOLD_PROBLEMS = 5
_IN_THE_MAKING = ".importing"

OpenStore = Callable[[Path, int], ChunkStore]


class UnusableSource(StartupError, ValueError):
    """The database does not hold the store, or not as it is registered."""


class StockImport:
    """The stores of one database, which is never written."""

    def __init__(self, database: Path, catalog: Catalog, open_store: OpenStore) -> None:
        """`open_store` makes a store in a folder, for vectors of a dimension."""
        self._database = database
        self._catalog = catalog
        self._open_store = open_store

    def fingerprint(self) -> str:
        """Another text when the database has changed. Raises StorageError."""
        parts = []
        for file in (self._database, Path(f"{self._database}-wal")):
            try:
                status = file.stat()
            except FileNotFoundError:
                if file is self._database:
                    raise StorageError(f"{file} does not exist") from None
            except OSError as error:
                raise StorageError(f"{file}: {error.strerror}") from error
            else:
                parts.append(f"{status.st_size:x}-{status.st_mtime_ns:x}")
        return "+".join(parts)

    def holds(self, store_id: str) -> bool:
        """Whether the store is in there. A database that is not made yet holds none. Raises StorageError."""
        try:
            if not self._database.stat().st_size:
                return False
        except FileNotFoundError:
            return False
        except OSError as error:
            raise StorageError(f"{self._database}: {error.strerror}") from error
        return any(store.id == store_id for store in stock_stores(self._database))

    def check(self, store_id: str, dimension: int) -> None:
        """Raises UnusableSource unless the database holds the store with vectors of that dimension."""
        try:
            self.fingerprint()
            with StockStoreReader(self._database, store_id) as reader:
                found = reader.dimension
        except NotFound:
            there = ", ".join(store.id for store in stock_stores(self._database)) or "none"
            raise UnusableSource(
                f"{self._database} holds no vector store {store_id}; it holds: {there}"
            ) from None
        except StorageError as error:
            raise UnusableSource(error.cause) from error
        if found != dimension:
            raise UnusableSource(
                f"Vector store {store_id} in {self._database} has vectors of {found} dimensions, not {dimension}"
            )

    def convert(self, record: StoreRecord, fingerprint: str, *, again: bool) -> str:
        """Make the store in a new folder, and the catalog say so. Returns the folder's name.

        With `again`, for what is converted whenever the database changes, the folder has a name that no other ever
        had, because processes may still use earlier ones, and the store does not expire. Call it inside the lock of the store's folder. Raises StorageError, UnusableSource, OSError; then nothing has changed.
        """
        self.check(record.id, record.dimension)
        described = stock_record(self._database, record.id)
        name = folder_name(record.id)
        path = self._catalog.path
        for abandoned in path.glob(f".{escape(name)}.*{_IN_THE_MAKING}"):
            shutil.rmtree(abandoned, ignore_errors=True)
        folder = path / (f"{name}.{secrets.token_hex(4)}" if again else name)
        temporary = path / f".{name}.{secrets.token_hex(4)}{_IN_THE_MAKING}"
        try:
            report = self._copy(record, described, temporary)
            temporary.rename(folder)
        except BaseException as error:
            shutil.rmtree(temporary, ignore_errors=True)
            if isinstance(error, StorageError):
                raise StorageError(f"{self._database} cannot be copied: {error.cause}") from error
            raise
        self._record(record, described, folder.name, fingerprint, expires=not again)
        _tell(record.id, self._database, report)
        return folder.name

    def _copy(self, record: StoreRecord, described: StockRecord, folder: Path) -> ReadingReport:
        names = {file.file_id: file.filename for file in described.files}
        store = self._open_store(folder, record.dimension)
        try:
            with StockStoreReader(self._database, record.id) as reader:
                for chunks, vectors in reader.batches():
                    store.insert([_of_file(chunk, names) for chunk in chunks], vectors)
                return reader.report
        finally:
            store.close()

    def _record(
        self, record: StoreRecord, described: StockRecord, folder: str, fingerprint: str, *, expires: bool
    ) -> None:
        columns: dict[str, Any] = {"folder": folder, "fingerprint": fingerprint}
        if described.created_at is not None:
            columns["created_at"] = described.created_at
        if record.name is None and described.name is not None:
            columns["name"] = described.name
        if record.fingerprint is None:
            columns["metadata"] = json.dumps(described.metadata)
            columns["chunking"] = json.dumps(described.chunking) if described.chunking else None
            columns["expires_after_days"] = described.expires_after_days if expires else None
        with self._catalog.write() as connection:
            set_columns(connection, record.id, columns)
            connection.execute("DELETE FROM attachments WHERE store_id = ?", (record.id,))
            for file in described.files:
                insert_attachment(connection, file)


def _of_file(chunk: NewChunk, names: dict[str, str]) -> NewChunk:
    """The chunk with the file that it came from, where its document is one of the files."""
    file_id = chunk.file_id or chunk.document_id
    if file_id not in names:
        return chunk
    metadata = dict(chunk.metadata)
    if names[file_id]:
        metadata.setdefault("filename", names[file_id])
    return replace(chunk, file_id=file_id, metadata=metadata)


def _tell(store_id: str, database: Path, report: ReadingReport) -> None:
    if not report.problems:
        logger.info("Vector store %s: %d chunks taken over from %s", store_id, report.read, database)
        return
    reasons = "; ".join(report.problems[:_TOLD_PROBLEMS])
    more = len(report.problems) > _TOLD_PROBLEMS
    logger.warning(
        "Vector store %s: %d chunks taken over from %s, %d of them mended, %d skipped: %s%s",
        store_id,
        report.read,
        database,
        report.mended,
        report.skipped,
        reasons,
        "; and others" if more else "",
    )
