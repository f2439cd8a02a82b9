"""Reading attached files in the background."""

import asyncio
import logging
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import numpy as np
from anyio import to_thread
from llama_stack_api.common.errors import ResourceNotFoundError

from lightspeed.documents.document import DocumentError, UnsupportedFormat
from lightspeed.errors import InternalError, NotFound, RequestError, TooManyRequests, Unavailable
from lightspeed.stack.embedding import Embeddings
from lightspeed.stack.provider_errors import request_error
from lightspeed.stack.providers.faiss_sqlite.attachments import Attachment, Attachments
from lightspeed.stack.providers.faiss_sqlite.folders import folder_lock, folder_name
from lightspeed.stack.providers.faiss_sqlite.opened_stores import OpenedStores
from lightspeed.stack.providers.faiss_sqlite.reading import FileReader, FileText, NoFiles
from lightspeed.stack.providers.faiss_sqlite.store_records import StoreRecord, StoreRecords
from lightspeed.stack.question import Vectors

logger = logging.getLogger(__name__)

_AT_ONCE = 2
_LOOK_AGAIN_AFTER = 5.0  # seconds until jobs of processes that have died are looked for
_PAUSES = (1.0, 4.0)  # seconds before the second and the third try
_MOST_CLAIMS = 5  # a file that ends the process is not tried for ever
_EMBEDDED_AT_ONCE = 64  # passages between two reports of progress


class _Failed(Exception):
    """The file cannot be read; `code` is as OpenAI's interface has it."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


class AttachJobs:
    """Takes jobs from the catalog, two at a time, and stores whole files or nothing."""

    def __init__(
        self,
        attachments: Attachments,
        records: StoreRecords,
        opened: OpenedStores,
        reader: FileReader,
        embeddings: Embeddings,
        *,
        lease_seconds: float,
    ) -> None:
        self._attachments = attachments
        self._records = records
        self._opened = opened
        self._reader = reader
        self._embeddings = embeddings
        self._renew_after = lease_seconds / 4
        self._look_again_after = min(_LOOK_AGAIN_AFTER, self._renew_after)
        self._workers: list[asyncio.Task[None]] = []
        self._running: dict[tuple[str, str], asyncio.Task[None]] = {}
        self._wanted = asyncio.Event()

    def start(self) -> None:
        self._workers = [asyncio.create_task(self._work()) for _ in range(_AT_ONCE)]

    def wake(self) -> None:
        """There is a new job."""
        if self._workers and all(worker.done() for worker in self._workers):
            # The stack's own server initializes its providers in an event loop that ends before the first request.
            self._wanted = asyncio.Event()
            self.start()
        self._wanted.set()

    def cancel(self, store_id: str, file_id: str | None = None) -> None:
        """Stop reading a file, or all files of a store, in this process. Others notice by their leases."""
        for (store, file), task in list(self._running.items()):
            if store == store_id and file_id in (None, file):
                task.cancel()

    async def stop(self) -> None:
        """Stop all jobs and give them back."""
        working = [worker for worker in self._workers if not worker.done()]
        for worker in working:
            worker.cancel()
        await asyncio.gather(*working, return_exceptions=True)
        if self._workers:
            self._workers = []
            await to_thread.run_sync(self._attachments.give_back)

    async def _work(self) -> None:
        while True:
            self._wanted.clear()
            try:
                job = await to_thread.run_sync(self._attachments.claim)
            except RequestError as error:
                logger.warning("The catalog of vector stores tells no jobs: %s", error.cause)
                job = None
            if job is not None:
                await self._run(job)
                continue
            with suppress(TimeoutError):
                await asyncio.wait_for(self._wanted.wait(), self._look_again_after)

    async def _run(self, job: Attachment) -> None:
        task = asyncio.create_task(self._process(job))
        holding = asyncio.create_task(self._hold(job, task))
        self._running[job.store_id, job.file_id] = task
        try:
            await asyncio.wait({task})
        finally:
            self._running.pop((job.store_id, job.file_id), None)
            task.cancel()
            holding.cancel()
            (result, _) = await asyncio.gather(task, holding, return_exceptions=True)
        if isinstance(result, Exception):
            logger.warning("The job of file %s could not be ended: %s", job.file_id, result)

    async def _hold(self, job: Attachment, task: "asyncio.Task[None]") -> None:
        """Keep the lease; without it another process may be reading the file already."""
        while True:
            await asyncio.sleep(self._renew_after)
            with suppress(RequestError):
                if not await to_thread.run_sync(self._attachments.renew, job):
                    task.cancel()
                    return

    async def _process(self, job: Attachment) -> None:
        try:
            if job.claims > _MOST_CLAIMS:
                raise _Failed(
                    "server_error", f"Reading this file has ended the process {_MOST_CLAIMS} times."
                )
            for pause in (*_PAUSES, None):
                try:
                    with _explained(job):
                        await self._attempt(job)
                    return
                except (Unavailable, TooManyRequests) as error:
                    if pause is None:
                        code = "rate_limit_exceeded" if isinstance(error, TooManyRequests) else "server_error"
                        raise _Failed(code, error.cause) from error
                    logger.info("File %s is tried again: %s", job.file_id, error.cause)
                await asyncio.sleep(pause)
        except _Failed as failure:
            logger.warning(
                "File %s was not read into vector store %s: %s", job.file_id, job.store_id, failure
            )
            await to_thread.run_sync(self._attachments.fail, job, failure.code, str(failure))

    async def _attempt(self, job: Attachment) -> None:
        record = await to_thread.run_sync(self._records.get, job.store_id)
        if record is None:
            await to_thread.run_sync(self._attachments.remove, job.store_id, job.file_id)
            return
        text = await self._reader.read(job, record.embedding_model)
        if not text.pieces:
            raise _Failed("invalid_file", f"{text.filename}: no text")
        vectors = await self._vectors(job, record, text)
        await to_thread.run_sync(self._store, job, text, vectors)

    async def _vectors(self, job: Attachment, record: StoreRecord, text: FileText) -> Vectors:
        total = len(text.pieces)
        parts: list[Vectors] = []
        for start in range(0, total, _EMBEDDED_AT_ONCE):
            await self._tell(job, text, start)
            batch = [piece.text for piece in text.pieces[start : start + _EMBEDDED_AT_ONCE]]
            parts.append(await self._embeddings.embed(record.embedding_model, batch))
        await self._tell(job, text, total)
        return np.concatenate(parts)

    async def _tell(self, job: Attachment, text: FileText, done: int) -> None:
        await to_thread.run_sync(
            lambda: self._attachments.progress(job, filename=text.filename, done=done, total=len(text.pieces))
        )

    def _store(self, job: Attachment, text: FileText, vectors: Vectors) -> None:
        store = self._opened.open(job.store_id)
        with folder_lock(self._opened.path, folder_name(job.store_id)):
            current = self._attachments.get(job.store_id, job.file_id)
            if current is None or not self._attachments.is_ours(job):
                return
            chunks = text.chunks(job.file_id, current.attributes)
            store.insert(chunks, vectors, replacing=[job.file_id])
            size = sum(len(chunk.content.encode(errors="replace")) for chunk in chunks) + vectors.nbytes
            self._attachments.complete(job, origin=text.origin, usage_bytes=size)


@contextmanager
def _explained(job: Attachment) -> Iterator[None]:
    """What went wrong as Unavailable or TooManyRequests, which may pass, or as _Failed."""
    try:
        yield
    except _Failed:
        raise
    except UnsupportedFormat as error:
        raise _Failed("unsupported_file", str(error)) from error
    except (DocumentError, ResourceNotFoundError) as error:
        raise _Failed("invalid_file", str(error)) from error
    except (NoFiles, NotFound) as error:
        raise _Failed("server_error", str(error)) from error
    except Exception as error:
        mapped = request_error(error, "")
        if isinstance(mapped, Unavailable | TooManyRequests):
            raise mapped from error
        if isinstance(mapped, InternalError):
            logger.exception("File %s of vector store %s", job.file_id, job.store_id)
        raise _Failed("server_error", mapped.cause) from error
