"""The stores that this process has opened."""

import logging
import math
import re
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from glob import escape
from pathlib import Path

from lightspeed.errors import LightspeedError, NotFound, StorageError
from lightspeed.stack.providers.faiss_sqlite.catalog import Catalog
from lightspeed.stack.providers.faiss_sqlite.database import FILE_NAME, FILLED
from lightspeed.stack.providers.faiss_sqlite.folders import (
    destroy,
    folder_lock,
    folder_name,
    remove_destroyed,
)
from lightspeed.stack.providers.faiss_sqlite.importing import StockImport
from lightspeed.stack.providers.faiss_sqlite.sqlite_file import is_damage
from lightspeed.stack.providers.faiss_sqlite.store import ChunkStore, StoreSettings
from lightspeed.stack.providers.faiss_sqlite.store_records import StoreRecord, StoreRecords

logger = logging.getLogger(__name__)

_LOOK_AGAIN_AFTER = 5.0  # seconds between two looks at the database that a store was taken from
_LOOK_AGAIN_AFTER_FAILURE = 60.0
_GRACE = 60.0  # seconds for searches that still use a store that has been replaced


@dataclass(frozen=True, slots=True)
class _Retired:
    """A store that nobody gets any more, but searches may still use. Its folder goes with it if `outdated`."""

    until: float
    store: ChunkStore
    outdated: bool

    def end(self) -> None:
        if self.outdated:
            self.store.destroy()
        else:
            self.store.close()


class OpenedStores:
    """Opens each store once, converts it before where that is due. Synchronous, and safe to use from many threads."""

    def __init__(
        self,
        catalog: Catalog,
        records: StoreRecords,
        settings: StoreSettings,
        *,
        import_from: Path | None,
        read_only: bool,
    ) -> None:
        """With `read_only` a store is converted again whenever the database it comes from has changed."""
        self.path = catalog.path
        self._records = records
        self._settings = settings
        self._read_only = read_only
        self._source = StockImport(import_from, catalog, self._make) if import_from is not None else None
        self._lock = threading.RLock()
        self._stores: dict[str, ChunkStore] = {}
        self._look_at: dict[str, float] = {}
        self._converting: set[str] = set()
        self._retired: list[_Retired] = []
        self._unusable: dict[str, str] = {}

    @property
    def source(self) -> StockImport | None:
        return self._source

    def held(self, store_id: str) -> ChunkStore | None:
        """The store if it is open and nothing is to be looked after. Never blocks for long."""
        store = self._stores.get(store_id)
        return store if store is not None and not self._is_due(store_id) else None

    def open(self, store_id: str) -> ChunkStore:
        """The store, opened and up to date; a damaged copy of another database is made anew.

        Raises NotFound, StorageError, Unavailable, ValueError.
        """
        with self._noted(store_id):
            return self._opened(store_id)

    def prepare(self, store_id: str) -> None:
        """Open the store and read what stands in it. Raises as `open`."""
        with self._noted(store_id):
            self._opened(store_id).refresh()

    def unusable(self) -> list[str]:
        """Why stores could not be opened or prepared, a sentence for each; looks whether they can be now."""
        for store_id in [*self._unusable]:
            with suppress(LightspeedError, ValueError):
                self.prepare(store_id)
        return [*self._unusable.values()]

    @contextmanager
    def _noted(self, store_id: str) -> Iterator[None]:
        try:
            yield
        except StorageError as error:
            self._unusable[store_id] = error.cause
            raise
        except NotFound:
            self._unusable.pop(store_id, None)
            raise
        self._unusable.pop(store_id, None)

    def _opened(self, store_id: str) -> ChunkStore:
        try:
            return self._open(store_id)
        except StorageError as error:
            if self._source is None or not self._read_only or not is_damage(error):
                raise
            logger.warning(
                "Vector store %s is converted anew, because its copy is damaged: %s", store_id, error
            )
        self._convert_anew(self._record(store_id), self._source)
        return self._open(store_id)

    def forget(self, store_id: str) -> None:
        """Close the store, if it is open."""
        with self._lock:
            store = self._stores.pop(store_id, None)
            self._look_at.pop(store_id, None)
            self._unusable.pop(store_id, None)
        if store is not None:
            store.close()

    def drop(self, store_id: str, store: ChunkStore) -> None:
        """Open the store anew when it is needed next: its folder is gone, or another one."""
        with self._lock:
            if self._stores.get(store_id) is store:
                del self._stores[store_id]
                self._retire(store, outdated=False)

    def size(self, record: StoreRecord) -> int:
        """Bytes on disk; nothing as long as the store was not needed."""
        total = 0
        for file in (self.path / record.folder).glob("*"):
            try:
                total += file.stat().st_size
            except FileNotFoundError:
                continue
        return total

    def destroy(self, store_id: str) -> None:
        """Remove the store from the disk and the catalog. A crash leaves what `complete_deletion` removes."""
        self._records.begin_deleting(store_id)
        self._finish(store_id)

    def complete_deletion(self, store_id: str | None = None) -> None:
        """Complete the deletion of a store, or of all, that was begun and not completed."""
        for unfinished, _ in self._records.being_deleted(store_id):
            self._finish(unfinished)

    def close(self) -> None:
        """Close all stores."""
        with self._lock:
            stores, self._stores = list(self._stores.values()), {}
            retired, self._retired = self._retired, []
        for store in stores:
            store.close()
        for one in retired:
            one.end()

    def _open(self, store_id: str) -> ChunkStore:
        record = self._record(store_id)
        if self._is_due(store_id) or self._is_lost(record):
            record = self._converted(record)
        with self._lock:
            store = self._stores.get(store_id)
            if store is not None and store.folder.name == record.folder:
                return store
        with folder_lock(self.path, folder_name(store_id)):
            # Nobody deletes it now: a store that is gone must not be made again.
            record = self._record(store_id)
            store = self._stores.get(store_id)
            if store is not None and store.folder.name == record.folder:
                return store
            self._check_not_emptied(record)
            opened = self._make(self.path / record.folder, record.dimension)
            with self._lock:
                self._retire(self._stores.get(store_id), outdated=True)
                self._stores[store_id] = opened
        return opened

    def _finish(self, store_id: str) -> None:
        self.forget(store_id)
        with folder_lock(self.path, folder_name(store_id)):
            for _, folder in self._records.being_deleted(store_id):
                destroy(self.path / folder)
            self._records.forget(store_id)

    def _record(self, store_id: str) -> StoreRecord:
        record = self._records.get(store_id)
        if record is None:
            raise NotFound("Vector store", store_id)
        return record

    def _make(self, folder: Path, dimension: int) -> ChunkStore:
        return ChunkStore(folder, dimension, self._settings)

    def _is_due(self, store_id: str) -> bool:
        if self._source is None or (store_id in self._converting and store_id in self._stores):
            return False
        return self._look_at.get(store_id, 0.0) <= time.monotonic()

    def _look_again(self, store_id: str, after: float) -> None:
        self._look_at[store_id] = time.monotonic() + after if self._read_only else math.inf

    def _is_lost(self, record: StoreRecord) -> bool:
        """Whether what was converted has been removed or emptied."""
        return self._source is not None and self._read_only and not self._is_there(record)

    def _check_not_emptied(self, record: StoreRecord) -> None:
        """A database that has lost its content must not become an empty one. Who removes the folder wants a new one."""
        folder = self.path / record.folder
        try:
            emptied = folder.is_dir() and (folder / FILE_NAME).stat().st_size == 0
        except FileNotFoundError:
            emptied = True
        if emptied and ((folder / FILLED).exists() or self._records.has_files(record.id)):
            raise StorageError(
                f"Knowledge store {record.folder} was filled, but its {FILE_NAME} is missing or empty: restore it from a"
                " backup, or remove the folder and fill the store again"
            )

    def _is_there(self, record: StoreRecord) -> bool:
        """Whether the store need not be converted. A copy of a database is closed before it gets its name: it has a size."""
        folder = self.path / record.folder
        if not self._read_only:
            return folder.is_dir()
        try:
            return (folder / FILE_NAME).stat().st_size > 0
        except (FileNotFoundError, NotADirectoryError):
            return False

    def _converted(self, record: StoreRecord) -> StoreRecord:
        assert self._source is not None
        exists = self._is_there(record)
        self._converting.add(record.id)
        try:
            if self._read_only or not exists:
                record = self._convert_if_changed(record, self._source)
        except (LightspeedError, OSError) as error:
            if not exists or record.fingerprint is None:
                raise
            logger.warning("Vector store %s stays as it was: %s", record.id, error)
            self._look_again(record.id, _LOOK_AGAIN_AFTER_FAILURE)
        else:
            self._look_again(record.id, _LOOK_AGAIN_AFTER)
        finally:
            self._converting.discard(record.id)
        self._clear_retired()
        return record

    def _convert_if_changed(self, record: StoreRecord, source: StockImport) -> StoreRecord:
        if not self._read_only and not source.holds(record.id):
            return record
        fingerprint = source.fingerprint()
        if record.fingerprint == fingerprint and self._is_there(record):
            return record
        name = folder_name(record.id)
        with folder_lock(self.path, name):
            record = self._record(record.id)
            if self._is_there(record) and (record.fingerprint == fingerprint or not self._read_only):
                return record
            current = source.convert(record, fingerprint, again=self._read_only)
            self._remove_outdated(name, current)
            return self._record(record.id)

    def _convert_anew(self, damaged: StoreRecord, source: StockImport) -> None:
        name = folder_name(damaged.id)
        with folder_lock(self.path, name):
            record = self._record(damaged.id)
            if record.folder == damaged.folder:
                # Else another process was faster.
                self._remove_outdated(name, source.convert(record, source.fingerprint(), again=True))

    def _remove_outdated(self, name: str, current: str) -> None:
        """What was converted earlier, unless searches of this process still use it; those of others try again."""
        with self._lock:
            used = {store.folder.name for store in self._stores.values()}
            used.update(one.store.folder.name for one in self._retired)
        converted = re.compile(rf"{re.escape(name)}\.[0-9a-f]{{8}}")
        for folder in self.path.glob(f"{escape(name)}.*"):
            if converted.fullmatch(folder.name) and folder.name not in {current, *used}:
                destroy(folder)
        remove_destroyed(self.path / name)

    def _retire(self, store: ChunkStore | None, *, outdated: bool) -> None:
        if store is not None:
            self._retired.append(_Retired(time.monotonic() + _GRACE, store, outdated))

    def _clear_retired(self) -> None:
        now = time.monotonic()
        with self._lock:
            over = [one for one in self._retired if one.until <= now]
            self._retired = [one for one in self._retired if one.until > now]
        for one in over:
            one.end()
