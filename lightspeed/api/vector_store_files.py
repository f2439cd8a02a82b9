"""The files in a vector store: attached, listed, removed."""

from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from lightspeed.api.chunking_strategies import ChunkingStrategy, strategy_values
from lightspeed.api.endpoint import Call, Endpoint
from lightspeed.api.files import readable_file
from lightspeed.api.paging import PageInfo, PageQuery
from lightspeed.api.store_access import StoreAccess
from lightspeed.api.vector_stores import Attribute, refuse_expired
from lightspeed.errors import BadRequest, Forbidden, NotFound, StorageError
from lightspeed.identity.actions import Action
from lightspeed.stack.stored_objects import AttachedFile

if TYPE_CHECKING:
    from lightspeed.stack.vector_store_files import VectorStoreFiles

_TAGS = ("vector-stores",)
_PATH = "/v1/vector-stores/{vector_store_id}/files"
_ONE = _PATH + "/{file_id}"

# The names that clients know from lightspeed-stack.
_STORE, _STORE_OR_FILE, _FILE = "Vector_Store", "Vector_Store_Or_File", "File"

Key = Annotated[str, Field(max_length=64)]
Text = Annotated[str, Field(max_length=512)]
# Beyond these, a number has no exact form in the databases and no finite one in JSON.
Whole = Annotated[int, Field(ge=-(2**63), lt=2**63)]
Finite = Annotated[float, Field(allow_inf_nan=False)]


class VectorStoreFileCreateRequest(BaseModel):
    model_config = ConfigDict(extra="forbid")

    file_id: str = Field(min_length=1, examples=["file-5e884898da28047151d0e56f8dc62927"])
    attributes: dict[Key, Text | bool | Whole | Finite] | None = Field(
        None, max_length=16, description="Stand with each passage of the file, for filters."
    )
    chunking_strategy: ChunkingStrategy | None = None


class VectorStoreFileProgress(BaseModel):
    """So many of a file's passages are embedded."""

    done: int
    total: int


class VectorStoreFileResponse(BaseModel):
    id: str
    vector_store_id: str
    status: str = Field(description="`completed`, `in_progress`, `cancelled` or `failed`.")
    attributes: dict[str, Attribute] | None = None
    last_error: str | None = Field(None, description="Why it has failed.")
    object: str = "vector_store.file"
    progress: VectorStoreFileProgress | None = Field(
        None, description="Null until the file has been cut into passages, or if the provider does not tell."
    )


class VectorStoreFilesQuery(PageQuery):
    filter: Literal["completed", "in_progress", "cancelled", "failed"] | None = Field(
        None, description="Only files with this status."
    )


class VectorStoreFilesListResponse(PageInfo):
    data: list[VectorStoreFileResponse]
    object: str = "list"


class VectorStoreFileDeleteResponse(BaseModel):
    deleted: bool
    file_id: str
    response: str


async def attach_file(call: Call[VectorStoreFileCreateRequest]) -> VectorStoreFileResponse:
    services, body, store_id = call.services.services, call.body, call.path["vector_store_id"]
    owned = await StoreAccess(call).changeable(store_id, resource=_STORE_OR_FILE)
    refuse_expired(owned)
    try:
        await services.vector_stores.get(store_id)
        if not await readable_file(call, body.file_id):
            return await _without_file(call, store_id)
        return _response(
            await services.vector_stores.files.attach(
                store_id,
                body.file_id,
                attributes=body.attributes,
                chunking_strategy=strategy_values(body.chunking_strategy),
            )
        )
    except NotFound:
        raise NotFound(_STORE_OR_FILE, store_id) from None


async def list_files(call: Call[None, VectorStoreFilesQuery]) -> VectorStoreFilesListResponse:
    services, query, store_id = call.services.services, call.query, call.path["vector_store_id"]
    await StoreAccess(call).readable(store_id, resource=_STORE)
    files = services.vector_stores.files
    cursors = [cursor for cursor in (query.after, query.before) if cursor is not None]
    if cursors:
        try:
            await services.vector_stores.get(store_id)
        except NotFound:
            raise NotFound(_STORE, store_id) from None
    for cursor in cursors:
        # Providers differ in what they do about one that is not in the list.
        await _known(files, store_id, cursor)
    try:
        found = await files.list(
            store_id,
            limit=query.limit,
            order=query.order,
            after=query.after,
            before=query.before,
            status=query.filter,
        )
    except NotFound:
        raise NotFound(_STORE, store_id) from None
    return VectorStoreFilesListResponse(
        data=[_response(file) for file in found.files],
        has_more=found.has_more,
        first_id=found.files[0].id if found.files else None,
        last_id=found.files[-1].id if found.files else None,
    )


async def get_file(call: Call) -> VectorStoreFileResponse:
    store_id, file_id = call.path["vector_store_id"], call.path["file_id"]
    try:
        await StoreAccess(call).readable(store_id)
    except NotFound:
        raise NotFound(_FILE, file_id) from None
    return _response(await _known(call.services.services.vector_stores.files, store_id, file_id))


async def detach_file(call: Call) -> VectorStoreFileDeleteResponse:
    store_id, file_id = call.path["vector_store_id"], call.path["file_id"]
    try:
        await StoreAccess(call).changeable(store_id)
        deleted = await call.services.services.vector_stores.files.detach(store_id, file_id)
    except NotFound:
        deleted = False
    return VectorStoreFileDeleteResponse(
        deleted=deleted,
        file_id=file_id,
        response="Vector store file deleted successfully" if deleted else "Vector store file not found",
    )


async def _known(files: "VectorStoreFiles", store_id: str, file_id: str) -> AttachedFile:
    """A file in a store. Raises NotFound that names the file, also if the store is not there."""
    try:
        return await files.get(store_id, file_id)
    except NotFound:
        raise NotFound(_FILE, file_id) from None


async def _without_file(call: Call[VectorStoreFileCreateRequest], store_id: str) -> VectorStoreFileResponse:
    """What is known of a file that was deleted after it had been read; else that there is no such file.

    The stack is not asked to read it: somebody else's file is as unknown as one that nobody has.
    """
    body = call.body
    try:
        return _response(await call.services.services.vector_stores.files.get(store_id, body.file_id))
    except NotFound:
        return VectorStoreFileResponse(
            id=body.file_id,
            vector_store_id=store_id,
            status="failed",
            attributes=body.attributes or {},
            last_error=f"File with ID {body.file_id} does not exist",
        )


def _response(file: AttachedFile) -> VectorStoreFileResponse:
    progress = file.progress
    return VectorStoreFileResponse(
        id=file.id,
        vector_store_id=file.vector_store_id,
        status=file.status,
        attributes=dict(file.attributes),
        last_error=file.last_error,
        progress=VectorStoreFileProgress(done=progress.done, total=progress.total) if progress else None,
    )


ENDPOINTS = (
    Endpoint(
        "POST",
        _PATH,
        attach_file,
        action=Action.MANAGE_VECTOR_STORES,
        tags=_TAGS,
        summary="Read a file into a vector store",
        description="A file that takes long is `in_progress`: ask for it until it is `completed` or `failed`.",
        request=VectorStoreFileCreateRequest,
        response=VectorStoreFileResponse,
        errors=(BadRequest, Forbidden, NotFound, StorageError),
    ),
    Endpoint(
        "GET",
        _PATH,
        list_files,
        action=Action.READ_VECTOR_STORES,
        tags=_TAGS,
        summary="List the files in a vector store",
        query=VectorStoreFilesQuery,
        response=VectorStoreFilesListResponse,
        errors=(NotFound, StorageError),
    ),
    Endpoint(
        "GET",
        _ONE,
        get_file,
        action=Action.READ_VECTOR_STORES,
        tags=_TAGS,
        summary="How far a file in a vector store is",
        response=VectorStoreFileResponse,
        errors=(NotFound, StorageError),
    ),
    Endpoint(
        "DELETE",
        _ONE,
        detach_file,
        action=Action.MANAGE_VECTOR_STORES,
        tags=_TAGS,
        summary="Remove a file from a vector store",
        response=VectorStoreFileDeleteResponse,
        errors=(Forbidden, StorageError),
    ),
)
