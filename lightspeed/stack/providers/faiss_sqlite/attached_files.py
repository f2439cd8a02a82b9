"""The files in the stores, as the stack's vector_io interface has them."""

import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from uuid import uuid4

import anyio
from anyio import to_thread
from llama_stack_api import (
    OpenAIAttachFileRequest,
    OpenAICreateVectorStoreFileBatchRequestWithExtraBody,
    OpenAIUpdateVectorStoreFileRequest,
    VectorStoreFileBatchObject,
    VectorStoreFileContentResponse,
    VectorStoreFileDeleteResponse,
    VectorStoreNotFoundError,
)

from lightspeed.errors import Forbidden, StorageError
from lightspeed.stack.providers.faiss_sqlite import objects
from lightspeed.stack.providers.faiss_sqlite.attachments import (
    COMPLETED,
    IN_PROGRESS,
    Attachment,
    Attachments,
)
from lightspeed.stack.providers.faiss_sqlite.batches import Batches
from lightspeed.stack.providers.faiss_sqlite.chunks import Scalar
from lightspeed.stack.providers.faiss_sqlite.folders import folder_lock, folder_name
from lightspeed.stack.providers.faiss_sqlite.jobs import AttachJobs
from lightspeed.stack.providers.faiss_sqlite.opened_stores import OpenedStores
from lightspeed.stack.providers.faiss_sqlite.paging import Window
from lightspeed.stack.providers.faiss_sqlite.reading import with_attributes
from lightspeed.stack.providers.faiss_sqlite.requested import attributes_of, files_of_batch, strategy_of
from lightspeed.stack.providers.faiss_sqlite.store_records import StoreRecord, StoreRecords

_FIRST_PAUSE, _LONGEST_PAUSE = 0.02, 0.25  # seconds between two looks at a job


class ReadOnlyStore(Forbidden, ValueError):
    """The store must not be changed."""


class AttachedFiles:
    """Attaching is a job that outlives the request, and the process. A file is in a store whole, or not at all."""

    def __init__(
        self,
        records: StoreRecords,
        opened: OpenedStores,
        attachments: Attachments,
        batches: Batches,
        jobs: AttachJobs,
        *,
        read_only: bool,
        wait_seconds: float,
        context_model: str | None,
    ) -> None:
        self._records = records
        self._opened = opened
        self._attachments = attachments
        self._batches = batches
        self._jobs = jobs
        self._read_only = read_only
        self._wait_seconds = wait_seconds
        self._context_model = context_model

    async def openai_attach_file_to_vector_store(
        self, vector_store_id: str, request: OpenAIAttachFileRequest
    ) -> objects.FileObject:
        """The file after it was read, or `in_progress` when that takes longer than `attach_wait_seconds`.

        A file that has failed is tried again; one that is in the store is left as it is.
        """
        self._check_writable(vector_store_id)
        record = await self._usable(vector_store_id)
        if not request.file_id:
            raise ValueError("file_id is empty.")
        attributes = attributes_of(request.attributes)
        chunking = strategy_of(request.chunking_strategy, record.chunking, self._context_model)
        await to_thread.run_sync(
            self._attachments.attach, vector_store_id, request.file_id, attributes, chunking
        )
        self._jobs.wake()
        await self._wait_for(vector_store_id, [request.file_id])
        return objects.file_object(await self._attachment(vector_store_id, request.file_id))

    async def openai_list_files_in_vector_store(
        self,
        vector_store_id: str,
        limit: int | None = 20,
        order: str | None = "desc",
        after: str | None = None,
        before: str | None = None,
        filter: str | None = None,  # noqa: A002 (the stack's name)
    ) -> objects.FileList:
        await self._opened_record(vector_store_id)
        window = Window.checked(limit, order, after, before)
        found, more = await to_thread.run_sync(self._attachments.page, vector_store_id, window, filter)
        return objects.page_of(objects.FileList, [objects.file_object(one) for one in found], more)

    async def openai_retrieve_vector_store_file(
        self, vector_store_id: str, file_id: str
    ) -> objects.FileObject:
        await self._opened_record(vector_store_id)
        return objects.file_object(await self._attachment(vector_store_id, file_id))

    async def openai_retrieve_vector_store_file_contents(
        self,
        vector_store_id: str,
        file_id: str,
        include_embeddings: bool | None = False,
        include_metadata: bool | None = False,
    ) -> VectorStoreFileContentResponse:
        """The chunks of a file in reading order; none while it is not completed."""
        await self._opened_record(vector_store_id)
        await self._attachment(vector_store_id, file_id)

        def contents() -> VectorStoreFileContentResponse:
            store = self._opened.open(vector_store_id)
            chunks = store.chunks_of_file(file_id)
            vectors = store.vectors(chunks).tolist() if include_embeddings else [None] * len(chunks)
            return VectorStoreFileContentResponse(
                data=[
                    objects.content_item(chunk, vector, with_metadata=bool(include_metadata))
                    for chunk, vector in zip(chunks, vectors, strict=True)
                ]
            )

        async with self._unless_deleted(vector_store_id):
            return await to_thread.run_sync(contents)

    async def openai_update_vector_store_file(
        self, vector_store_id: str, file_id: str, request: OpenAIUpdateVectorStoreFileRequest
    ) -> objects.FileObject:
        """Filters find the new attributes at once."""
        self._check_writable(vector_store_id)
        await self._opened_record(vector_store_id)
        attributes = attributes_of(request.attributes)
        await self._attachment(vector_store_id, file_id)
        async with self._unless_deleted(vector_store_id):
            await to_thread.run_sync(self._set_attributes, vector_store_id, file_id, attributes)
        return objects.file_object(await self._attachment(vector_store_id, file_id))

    async def openai_delete_vector_store_file(
        self, vector_store_id: str, file_id: str
    ) -> VectorStoreFileDeleteResponse:
        """Remove a file from the store; if it is being read, that ends."""
        self._check_writable(vector_store_id)
        await self._opened_record(vector_store_id)
        await self._attachment(vector_store_id, file_id)
        self._jobs.cancel(vector_store_id, file_id)
        async with self._unless_deleted(vector_store_id):
            await to_thread.run_sync(self._remove, vector_store_id, file_id)
        return VectorStoreFileDeleteResponse(id=file_id)

    async def openai_create_vector_store_file_batch(
        self, vector_store_id: str, params: OpenAICreateVectorStoreFileBatchRequestWithExtraBody
    ) -> VectorStoreFileBatchObject:
        """Returns at once; the files are read one after the other."""
        self._check_writable(vector_store_id)
        record = await self._usable(vector_store_id)
        files = files_of_batch(params.file_ids)
        attributes = attributes_of(params.attributes)
        chunking = strategy_of(params.chunking_strategy, record.chunking, self._context_model)
        batch_id = f"batch_{uuid4()}"
        await to_thread.run_sync(
            self._attachments.attach_batch, batch_id, vector_store_id, files, attributes, chunking
        )
        self._jobs.wake()
        return await self.openai_retrieve_vector_store_file_batch(batch_id, vector_store_id)

    async def openai_retrieve_vector_store_file_batch(
        self, batch_id: str, vector_store_id: str
    ) -> VectorStoreFileBatchObject:
        """Raises ValueError for a batch that the store does not have."""
        await self._record(vector_store_id)
        return objects.batch_object(await to_thread.run_sync(self._batches.get, vector_store_id, batch_id))

    async def openai_list_files_in_vector_store_file_batch(
        self,
        batch_id: str,
        vector_store_id: str,
        after: str | None = None,
        before: str | None = None,
        filter: str | None = None,  # noqa: A002 (the stack's name)
        limit: int | None = 20,
        order: str | None = "desc",
    ) -> objects.BatchFileList:
        await self.openai_retrieve_vector_store_file_batch(batch_id, vector_store_id)
        window = Window.checked(limit, order, after, before)
        found, more = await to_thread.run_sync(
            lambda: self._attachments.page(vector_store_id, window, filter, batch_id=batch_id)
        )
        return objects.page_of(objects.BatchFileList, [objects.file_object(one) for one in found], more)

    async def openai_cancel_vector_store_file_batch(
        self, batch_id: str, vector_store_id: str
    ) -> VectorStoreFileBatchObject:
        """Files that are not in the store yet stay out. Raises ValueError for a batch that is at its end."""
        self._check_writable(vector_store_id)
        batch = await self.openai_retrieve_vector_store_file_batch(batch_id, vector_store_id)
        if batch.status in ("completed", "failed"):
            raise ValueError(f"File batch {batch_id} is {batch.status} and cannot be cancelled.")
        for file_id in await to_thread.run_sync(self._batches.cancel, batch_id):
            self._jobs.cancel(vector_store_id, file_id)
        return await self.openai_retrieve_vector_store_file_batch(batch_id, vector_store_id)

    async def _wait_for(self, store_id: str, file_ids: Sequence[str]) -> None:
        """Until no file is in progress, or for `wait_seconds`. The job may run in another process."""
        until = time.monotonic() + self._wait_seconds
        pause = _FIRST_PAUSE
        waiting = list(file_ids)
        while waiting and time.monotonic() < until:
            found = await to_thread.run_sync(self._attachments.get, store_id, waiting[-1])
            if found is None or found.status != IN_PROGRESS:
                waiting.pop()
                continue
            await anyio.sleep(min(pause, max(0.0, until - time.monotonic())))
            pause = min(1.5 * pause, _LONGEST_PAUSE)

    async def _record(self, store_id: str) -> StoreRecord:
        record = await to_thread.run_sync(self._records.get, store_id)
        if record is None:
            raise VectorStoreNotFoundError(store_id)
        return record

    @asynccontextmanager
    async def _unless_deleted(self, store_id: str) -> AsyncIterator[None]:
        """A store that fails because somebody deletes it meanwhile is one that is not there."""
        try:
            yield
        except StorageError as error:
            if await to_thread.run_sync(self._records.get, store_id) is None:
                raise VectorStoreNotFoundError(store_id) from error
            raise

    async def _opened_record(self, store_id: str) -> StoreRecord:
        """The record; of a store that is taken over from another database, once it knows its files."""
        record = await self._record(store_id)
        if self._opened.source is not None and record.fingerprint is None:
            await to_thread.run_sync(self._opened.open, store_id)
        return record

    async def _usable(self, store_id: str) -> StoreRecord:
        record = await self._record(store_id)
        if record.is_expired:
            raise ValueError(
                f"Vector store {store_id} has expired; set its expires_after anew to use it again."
            )
        return record

    async def _attachment(self, store_id: str, file_id: str) -> Attachment:
        found = await to_thread.run_sync(self._attachments.get, store_id, file_id)
        if found is None:
            raise ValueError(f"File {file_id} not found in vector store {store_id}")
        return found

    def _check_writable(self, store_id: str) -> None:
        if self._read_only:
            raise ReadOnlyStore(f"Vector store {store_id} is configured as read-only.")

    def _set_attributes(self, store_id: str, file_id: str, attributes: dict[str, Scalar]) -> None:
        store = self._opened.open(store_id)
        with folder_lock(self._opened.path, folder_name(store_id)):
            found = self._attachments.get(store_id, file_id)
            if found is None:
                return
            if found.status == COMPLETED:
                chunks = store.chunks_of_file(file_id)
                changed = [
                    objects.stored_again(
                        chunk, with_attributes(chunk.metadata, found.origin, found.attributes, attributes)
                    )
                    for chunk in chunks
                ]
                store.insert(changed, store.vectors(chunks))
            self._attachments.set_attributes(store_id, file_id, attributes)

    def _remove(self, store_id: str, file_id: str) -> None:
        store = self._opened.open(store_id)
        with folder_lock(self._opened.path, folder_name(store_id)):
            # The chunks first: a crash in between leaves a file that can be removed again.
            store.delete_file(file_id)
            self._attachments.remove(store_id, file_id)
