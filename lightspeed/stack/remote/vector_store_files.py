"""The files in the server's vector stores: read into a store, listed, removed from it."""

from collections.abc import Mapping, Sequence
from typing import Any, Literal

from lightspeed.errors import NotFound
from lightspeed.stack.locked_stores import PAUSES, patiently
from lightspeed.stack.remote.paths import segment
from lightspeed.stack.remote.server import StackServer
from lightspeed.stack.remote.store_directory import STORE, StoreDirectory, StoreEntry
from lightspeed.stack.stored_objects import AttachedFile, AttachedFiles

_FILE = "File"
_LARGEST_PAGE = 100


class RemoteVectorStoreFiles:
    """All methods raise NotFound for a store that is not there."""

    def __init__(
        self, server: StackServer, directory: StoreDirectory, *, pauses: Sequence[float] = PAUSES
    ) -> None:
        self._server = server
        self._directory = directory
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
        entry = await self._directory.find(store_id)
        body: dict[str, Any] = {"file_id": file_id, "attributes": dict(attributes or {})}
        if chunking_strategy:
            body["chunking_strategy"] = dict(chunking_strategy)

        async def attach() -> AttachedFile:
            found = await self._server.post(f"{entry.path}/files", body, resource=STORE, identifier=entry.id)
            return _attached(found, store_id)

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
        entry = await self._directory.find(store_id)
        found = await self._server.get(
            f"{entry.path}/files",
            resource=STORE,
            identifier=entry.id,
            limit=min(limit, _LARGEST_PAGE),
            order=order,
            after=after,
            before=before,
            filter=status,
        )
        files = [_attached(file, store_id) for file in found["data"]]
        return AttachedFiles(files, bool(found.get("has_more")))

    async def get(self, store_id: str, file_id: str) -> AttachedFile:
        """Raises NotFound also for a file that is not in the store."""
        path = _path(await self._directory.find(store_id), file_id)
        return _attached(await self._server.get(path, resource=_FILE, identifier=file_id), store_id)

    async def detach(self, store_id: str, file_id: str) -> bool:
        """Remove a file with its passages from a store. False if it is not in there."""
        entry = await self._directory.find(store_id)
        try:
            path = _path(entry, file_id)
            await self._server.delete(path, resource=_FILE, identifier=file_id)
        except NotFound:
            return False
        return True


def _path(entry: StoreEntry, file_id: str) -> str:
    return f"{entry.path}/files/{segment(file_id, _FILE)}"


def _attached(found: Mapping[str, Any], store_id: str) -> AttachedFile:
    error = found.get("last_error")
    return AttachedFile(
        id=str(found["id"]),
        vector_store_id=store_id,
        status=str(found["status"]),
        attributes=dict(found.get("attributes") or {}),
        last_error=str(error["message"]) if error else None,
    )
