"""The files in the vector stores of the stack: read into a store, listed, removed from it."""

from collections.abc import Mapping, Sequence
from typing import Any, Literal

from llama_stack_api import OpenAIAttachFileRequest

from lightspeed.errors import NotFound
from lightspeed.stack.locked_stores import PAUSES, patiently
from lightspeed.stack.stack_errors import reported
from lightspeed.stack.store_table import STORE, StoreTable
from lightspeed.stack.stored_objects import AttachedFile, AttachedFiles, FileProgress

FILE = "File"


class VectorStoreFiles:
    """All methods raise NotFound for a store that is not there, and Unavailable if run.yaml has no `vector_io`."""

    def __init__(self, table: StoreTable, *, pauses: Sequence[float] = PAUSES) -> None:
        self._table = table
        self._pauses = pauses

    async def attach(
        self,
        store_id: str,
        file_id: str,
        *,
        attributes: Mapping[str, str | float | bool] | None = None,
        chunking_strategy: Mapping[str, Any] | None = None,
    ) -> AttachedFile:
        """Read a file into a store. It may be `in_progress` still, or have `failed`, when this returns.

        Raises StorageError if the store's database stays locked.
        """
        table = await self._table.serving(store_id)
        strategy = dict(chunking_strategy) if chunking_strategy else None
        request = OpenAIAttachFileRequest.model_validate(
            {"file_id": file_id, "attributes": dict(attributes or {}), "chunking_strategy": strategy}
        )

        async def attach() -> AttachedFile:
            with reported(STORE, store_id):
                return _attached(await table.openai_attach_file_to_vector_store(store_id, request))

        return await patiently(attach, store_id, self._pauses)

    async def list(
        self,
        store_id: str,
        *,
        limit: int,
        order: Literal["asc", "desc"] = "desc",
        after: str | None = None,
        before: str | None = None,
        status: str | None = None,
    ) -> AttachedFiles:
        """A page of the files in a store."""
        table = await self._table.serving(store_id)
        with reported(STORE, store_id):
            found = await table.openai_list_files_in_vector_store(
                store_id, limit=limit, order=order, after=after, before=before, filter=status
            )
        return AttachedFiles([_attached(file) for file in found.data], found.has_more)

    async def get(self, store_id: str, file_id: str) -> AttachedFile:
        """Raises NotFound also for a file that is not in the store."""
        table = await self._table.serving(store_id)
        with reported(FILE, file_id):
            return _attached(await table.openai_retrieve_vector_store_file(store_id, file_id))

    async def detach(self, store_id: str, file_id: str) -> bool:
        """Remove a file with its passages from a store. False if it is not in there."""
        table = await self._table.serving(store_id)
        try:
            with reported(FILE, file_id):
                await table.openai_delete_vector_store_file(store_id, file_id)
        except NotFound:
            return False
        return True


def _attached(found: Any) -> AttachedFile:
    # Only our own provider tells it.
    progress = getattr(found, "progress", None)
    return AttachedFile(
        id=found.id,
        vector_store_id=found.vector_store_id,
        status=found.status,
        attributes=dict(found.attributes or {}),
        last_error=found.last_error.message if found.last_error is not None else None,
        progress=FileProgress(progress.done, progress.total) if progress is not None else None,
    )
