"""The stack's vector_io provider: stores, their chunks, and the searches in them."""

import logging
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any
from uuid import uuid4

from anyio import CapacityLimiter, to_thread
from llama_stack_api import (
    Api,
    DeleteChunksRequest,
    HealthResponse,
    HealthStatus,
    InsertChunksRequest,
    OpenAICreateVectorStoreRequestWithExtraBody,
    OpenAISearchVectorStoreRequest,
    OpenAIUpdateVectorStoreRequest,
    QueryChunksRequest,
    QueryChunksResponse,
    VectorStore,
    VectorStoreDeleteResponse,
    VectorStoreListResponse,
    VectorStoreNotFoundError,
    VectorStoreObject,
    VectorStoreSearchResponsePage,
)

from lightspeed.errors import NotFound, RequestError, StartupError
from lightspeed.stack.embedding import Embeddings
from lightspeed.stack.providers.faiss_sqlite import objects
from lightspeed.stack.providers.faiss_sqlite.attached_files import AttachedFiles
from lightspeed.stack.providers.faiss_sqlite.attachments import Attachments
from lightspeed.stack.providers.faiss_sqlite.batches import Batches
from lightspeed.stack.providers.faiss_sqlite.catalog import Catalog
from lightspeed.stack.providers.faiss_sqlite.chunks import ScoredChunk, Vectors
from lightspeed.stack.providers.faiss_sqlite.config import FaissSqliteConfig
from lightspeed.stack.providers.faiss_sqlite.context import ContextWriter
from lightspeed.stack.providers.faiss_sqlite.jobs import AttachJobs
from lightspeed.stack.providers.faiss_sqlite.opened_stores import OpenedStores
from lightspeed.stack.providers.faiss_sqlite.paging import Window
from lightspeed.stack.providers.faiss_sqlite.querying import Search, chunk_query, result_query
from lightspeed.stack.providers.faiss_sqlite.reading import FileReader
from lightspeed.stack.providers.faiss_sqlite.registration import register
from lightspeed.stack.providers.faiss_sqlite.requested import (
    expiry_days,
    metadata_of_store,
    strategy_of,
)
from lightspeed.stack.providers.faiss_sqlite.store import ChunkStore, StoreSettings
from lightspeed.stack.providers.faiss_sqlite.store_records import (
    NewStore,
    StoreChanges,
    StoreRecord,
    StoreRecords,
)
from lightspeed.stack.shared_call import SharedCall

logger = logging.getLogger(__name__)

_LEASE_SECONDS = 60.0
_OPENED_AT_ONCE = 4
_MOST_DIMENSIONS = 65_536
_TOUCHED_AT_MOST_EVERY = 60.0  # seconds


class FaissSqliteVectorIO(AttachedFiles):
    """Implements the stack's `VectorIO` and `VectorStoresProtocolPrivate`.

    What clients ask wrongly is a ValueError; a store that is not there, the stack's VectorStoreNotFoundError; a
    change of a read-only store, ReadOnlyStore. A store that has expired can be listed, changed and deleted, but not
    be searched or filled until its `expires_after` is set anew.
    """

    __provider_id__: str = "faiss"

    def __init__(
        self, config: FaissSqliteConfig, deps: dict[Any, Any], *, lease_seconds: float = _LEASE_SECONDS
    ) -> None:
        """`lease_seconds`: after which another process takes over the files that a dead one was reading."""
        self.config = config
        self.vector_store_store: Any = None
        path = Path(config.path).expanduser()
        self._catalog = Catalog(path)
        records = StoreRecords(self._catalog)
        opened = OpenedStores(
            self._catalog,
            records,
            StoreSettings(index=config.index, approximate_above=config.approximate_above),
            import_from=Path(config.import_from).expanduser() if config.import_from else None,
            read_only=config.read_only,
        )
        inference = deps[Api.inference]
        contexts = ContextWriter(inference, config.vector_stores_config)
        attachments = Attachments(self._catalog, uuid4().hex, lease_seconds=lease_seconds)
        self._embeddings = Embeddings(inference)
        self._touched: dict[str, float] = {}
        # Others may wait for a conversion that takes minutes; they must not hold all worker threads.
        self._opening = CapacityLimiter(_OPENED_AT_ONCE)
        super().__init__(
            records,
            opened,
            attachments,
            Batches(self._catalog),
            AttachJobs(
                attachments,
                records,
                opened,
                FileReader(deps.get(Api.files), inference, contexts, max_bytes=config.max_file_bytes),
                self._embeddings,
                lease_seconds=lease_seconds,
            ),
            read_only=config.read_only,
            wait_seconds=config.attach_wait_seconds,
            context_model=contexts.default_model,
        )

    async def initialize(self) -> None:
        """Make the folder and its catalog, end what a crash has left half done. Raises StartupError."""
        try:
            await to_thread.run_sync(self._open)
        except RequestError as error:
            raise StartupError(f"vector stores in {self.config.path}: {error.cause}") from error
        if self.config.read_files and not self.config.read_only:
            self._jobs.start()

    async def shutdown(self) -> None:
        """Give unfinished files back and close everything. May be called twice."""
        try:
            await self._jobs.stop()
        finally:
            await to_thread.run_sync(self._opened.close)
            await to_thread.run_sync(self._catalog.close)

    async def health(self) -> HealthResponse:
        """An error if the catalog or stores cannot be read, or the catalog was lost: with the reasons."""
        try:
            await to_thread.run_sync(self._records.page, Window(limit=1))
            troubles = await to_thread.run_sync(self._opened.unusable, abandon_on_cancel=True)
        except RequestError as error:
            return HealthResponse(status=HealthStatus.ERROR, message=error.cause)
        if loss := self._catalog.loss:
            troubles.append(loss)
        if troubles:
            return HealthResponse(status=HealthStatus.ERROR, message=". ".join(troubles))
        return HealthResponse(status=HealthStatus.OK)

    async def prepare(self, vector_store_id: str) -> None:
        """Open a store and read what stands in it, so that the first search does not have to. Raises as `chunk_store`."""
        await to_thread.run_sync(self._opened.prepare, vector_store_id, limiter=self._opening)

    @property
    def is_read_only(self) -> bool:
        return self.config.read_only

    async def chunk_store(self, vector_store_id: str) -> ChunkStore:
        """The engine of a store, opened, and converted before if that is due.

        Keep it for one operation only. Raises NotFound, StorageError, Unavailable.
        """
        held = self._opened.held(vector_store_id)
        if held is not None:
            return held
        # One who gives up leaves the thread to itself, and its place is taken until it ends.
        opening = partial(to_thread.run_sync, self._opened.open, vector_store_id, limiter=self._opening)
        return await SharedCall(opening)()

    async def touch(self, vector_store_id: str) -> None:
        """The store is in use: that moves its expiry on. Writes at most once a minute, and never fails."""
        now = time.monotonic()
        if now - self._touched.get(vector_store_id, -_TOUCHED_AT_MOST_EVERY) < _TOUCHED_AT_MOST_EVERY:
            return
        self._touched[vector_store_id] = now
        try:
            await to_thread.run_sync(self._records.touch, vector_store_id)
        except RequestError as error:
            logger.debug("Vector store %s is not marked as used: %s", vector_store_id, error.cause)

    async def register_vector_store(self, vector_store: VectorStore) -> None:
        """Make a store known, and empty if it is new; idempotent.

        Raises UnusableStore and UnusableSource, which are StartupError and ValueError.
        """
        new = NewStore(
            id=vector_store.identifier,
            provider_id=vector_store.provider_id,
            embedding_model=vector_store.embedding_model,
            dimension=vector_store.embedding_dimension,
            name=vector_store.vector_store_name,
        )
        if not 1 <= new.dimension <= _MOST_DIMENSIONS:
            raise ValueError(
                f"The embedding dimension is a number from 1 to {_MOST_DIMENSIONS}, not {new.dimension}."
            )
        await to_thread.run_sync(
            lambda: register(new, self._records, self._opened, read_only=self.config.read_only)
        )

    async def unregister_vector_store(self, vector_store_id: str) -> None:
        """Close the store. Its content stays: only `openai_delete_vector_store` removes that."""
        await to_thread.run_sync(self._opened.forget, vector_store_id)

    async def _ensure_openai_metadata_exists(
        self, vector_store: VectorStore, name: str | None = None
    ) -> None:
        """The stack calls this after a registration, which has done it."""

    async def insert_chunks(self, request: InsertChunksRequest) -> None:
        """All chunks or none; they replace chunks with the same ids. Raises ValueError."""
        self._check_writable(request.vector_store_id)
        if request.ttl_seconds is not None:
            raise ValueError("Chunks that expire are not supported: ttl_seconds must be null.")
        await self._usable(request.vector_store_id)
        if not request.chunks:
            return

        def insert(store: ChunkStore) -> None:
            chunks = [objects.new_chunk(chunk) for chunk in request.chunks]
            store.insert(chunks, [chunk.embedding for chunk in request.chunks])

        await self._with_store(request.vector_store_id, insert)
        await self.touch(request.vector_store_id)

    async def delete_chunks(self, request: DeleteChunksRequest) -> None:
        """Chunks that are not there are passed over."""
        self._check_writable(request.vector_store_id)
        ids = [chunk.chunk_id for chunk in request.chunks]
        await self._with_store(request.vector_store_id, lambda store: store.delete_chunks(ids))

    async def query_chunks(self, request: QueryChunksRequest) -> QueryChunksResponse:
        """Best first, scores from 0 to 1. Raises ValueError that names the wrong parameter."""
        search = chunk_query(request.query, request.params, self.config.mode)
        record, found, vectors = await self._search(request.vector_store_id, search, with_vectors=True)
        rows = vectors.tolist()
        return QueryChunksResponse.model_construct(
            chunks=[
                objects.embedded_chunk(hit.chunk, row, record.embedding_model)
                for hit, row in zip(found, rows, strict=True)
            ],
            scores=[hit.score for hit in found],
        )

    async def openai_search_vector_store(
        self, vector_store_id: str, request: OpenAISearchVectorStoreRequest
    ) -> VectorStoreSearchResponsePage:
        """Best first; one result for each chunk. Raises ValueError."""
        search = result_query(request, self.config.mode)
        _, found, _ = await self._search(vector_store_id, search, with_vectors=False)
        return VectorStoreSearchResponsePage(
            search_query=[request.query] if isinstance(request.query, str) else request.query,
            data=[objects.search_result(hit) for hit in found],
        )

    async def openai_create_vector_store(
        self, params: OpenAICreateVectorStoreRequestWithExtraBody
    ) -> VectorStoreObject:
        """The stack's router has registered the store before. Raises ValueError; then the store is gone again."""
        extra, given = params.model_extra or {}, params.metadata or {}
        store_id = extra.get("provider_vector_store_id") or f"vs_{uuid4()}"
        try:
            self._check_writable(store_id)
            record = await self._create(store_id, params, extra, given)
        except Exception:
            await self._take_back(store_id)
            raise
        if params.file_ids:
            files = list(dict.fromkeys(params.file_ids))
            chunking = strategy_of(None, record.chunking, self._context_model)
            for file_id in files:
                await to_thread.run_sync(self._attachments.attach, store_id, file_id, {}, chunking)
            self._jobs.wake()
            await self._wait_for(store_id, files)
        return await self.openai_retrieve_vector_store(store_id)

    async def openai_list_vector_stores(
        self,
        limit: int | None = 20,
        order: str | None = "desc",
        after: str | None = None,
        before: str | None = None,
    ) -> VectorStoreListResponse:
        """Raises ValueError for a cursor that is no store."""
        window = Window.checked(limit, order, after, before)

        def listed() -> tuple[list[VectorStoreObject], bool]:
            records, more = self._records.page(window)
            return [self._object(record) for record in records], more

        return objects.page_of(VectorStoreListResponse, *await to_thread.run_sync(listed))

    async def openai_retrieve_vector_store(self, vector_store_id: str) -> VectorStoreObject:
        record = await self._record(vector_store_id)
        if self._opened.source is not None and record.fingerprint is None:
            # What the other database says of the store is part of the answer.
            await self.chunk_store(vector_store_id)
            record = await self._record(vector_store_id)
        return await to_thread.run_sync(self._object, record)

    async def openai_update_vector_store(
        self, vector_store_id: str, request: OpenAIUpdateVectorStoreRequest
    ) -> VectorStoreObject:
        """`metadata` replaces the user's own; what the stack adds to them stays. Raises ValueError."""
        self._check_writable(vector_store_id)
        changes = StoreChanges(
            name=request.name,
            metadata=metadata_of_store(request.metadata) if request.metadata is not None else None,
            expires_after_days=expiry_days(request.expires_after),
        )
        record = await to_thread.run_sync(self._records.change, vector_store_id, changes)
        if record is None:
            raise VectorStoreNotFoundError(vector_store_id)
        return await to_thread.run_sync(self._object, record)

    async def openai_delete_vector_store(self, vector_store_id: str) -> VectorStoreDeleteResponse:
        """Remove the store with all that it holds."""
        self._check_writable(vector_store_id)
        await self._record(vector_store_id)
        self._jobs.cancel(vector_store_id)
        await to_thread.run_sync(self._opened.destroy, vector_store_id)
        self._touched.pop(vector_store_id, None)
        return VectorStoreDeleteResponse(id=vector_store_id)

    def _open(self) -> None:
        self._catalog.open()
        self._opened.complete_deletion()
        self._batches.forget_old()

    async def _search(
        self, store_id: str, search: Search, *, with_vectors: bool
    ) -> tuple[StoreRecord, list[ScoredChunk], Vectors]:
        record = await self._usable(store_id)
        vector: Any = None
        if search.mode != "keyword":
            if search.dimensions not in (None, record.dimension):
                raise ValueError(
                    f"Vector store {store_id} holds vectors of {record.dimension} dimensions, "
                    f"so embedding_dimensions cannot be {search.dimensions}."
                )
            vector = (await self._embeddings.embed(record.embedding_model, [search.text]))[0]

        def find(store: ChunkStore) -> tuple[list[ScoredChunk], Vectors]:
            found = search.find(store, vector)
            chunks = [hit.chunk for hit in found] if with_vectors else []
            return found, store.vectors(chunks)

        found, vectors = await self._with_store(store_id, find)
        await self.touch(store_id)
        return record, found, vectors

    async def _with_store[Result](self, store_id: str, use: Callable[[ChunkStore], Result]) -> Result:
        """Use the engine in a worker thread; once more if the store has been replaced meanwhile."""
        for last in (False, True):
            try:
                async with self._unless_deleted(store_id):
                    store = await self.chunk_store(store_id)
            except NotFound:
                raise VectorStoreNotFoundError(store_id) from None
            try:
                async with self._unless_deleted(store_id):
                    return await to_thread.run_sync(use, store)
            except NotFound:
                self._opened.drop(store_id, store)
                if last:
                    raise VectorStoreNotFoundError(store_id) from None
        raise AssertionError("unreachable")

    async def _create(
        self,
        store_id: str,
        params: OpenAICreateVectorStoreRequestWithExtraBody,
        extra: dict[str, Any],
        given: dict[str, Any],
    ) -> StoreRecord:
        record = await to_thread.run_sync(self._records.get, store_id)
        if record is None:
            model = given.get("embedding_model") or extra.get("embedding_model")
            dimension = given.get("embedding_dimension") or extra.get("embedding_dimension")
            if not model or not dimension:
                raise ValueError("A new vector store needs embedding_model and embedding_dimension.")
            provider = extra.get("provider_id") or self.__provider_id__
            new = NewStore(store_id, provider, str(model), int(dimension), params.name)
            record = await to_thread.run_sync(
                lambda: register(new, self._records, self._opened, read_only=self.config.read_only)
            )
        changes = StoreChanges(
            name=params.name,
            metadata=metadata_of_store(params.metadata),
            chunking=strategy_of(params.chunking_strategy, None, self._context_model),
            expires_after_days=expiry_days(params.expires_after),
        )
        changed = await to_thread.run_sync(self._records.change, store_id, changes)
        if changed is None:
            raise VectorStoreNotFoundError(store_id)
        return changed

    async def _take_back(self, store_id: str) -> None:
        """A store that was registered for a request that then failed."""
        record = await to_thread.run_sync(self._records.get, store_id)
        if record is None or record.chunking is not None:
            return
        if await to_thread.run_sync(self._opened.size, record):
            return
        await to_thread.run_sync(self._opened.destroy, store_id)
        if self.vector_store_store is not None:
            await self.vector_store_store.unregister_vector_store(store_id)

    def _object(self, record: StoreRecord) -> VectorStoreObject:
        counts = self._attachments.counts(record.id)
        return objects.store_object(record, counts, self._opened.size(record))
