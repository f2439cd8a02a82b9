"""Uploaded files. Each belongs to who uploaded it."""

from datetime import UTC, datetime
from typing import Any

import anyio
from pydantic import BaseModel, Field

from lightspeed.api.endpoint import Call, Endpoint
from lightspeed.api.paging import PageInfo, PageQuery
from lightspeed.api.uploads import MAX_OVERHEAD, MAX_UPLOAD, uploaded
from lightspeed.errors import BadRequest, NotFound, StorageError, TooLarge, Unavailable, Unprocessable
from lightspeed.identity.actions import Action
from lightspeed.storage.owned import OwnedFile

_TAGS = ("files",)
_PATH = "/v1/files"
_ONE = _PATH + "/{file_id}"
_FILE = "File"


class UploadForm(BaseModel):
    file: bytes = Field(description="The file, with its name.", json_schema_extra={"format": "binary"})


class FileResponse(BaseModel):
    id: str = Field(examples=["file-5e884898da28047151d0e56f8dc62927"])
    filename: str
    bytes: int
    created_at: int = Field(description="Seconds since 1970.")
    purpose: str = "assistants"
    object: str = "file"


class FilesListResponse(PageInfo):
    data: list[FileResponse]
    object: str = "list"


class FileDeleteResponse(BaseModel):
    deleted: bool
    file_id: str
    response: str


async def upload_file(call: Call) -> FileResponse:
    services = call.services.services
    # Before anything is read: nothing could be done with it.
    services.files.check()
    async with uploaded(call.request) as upload:
        stored = await services.files.upload(upload.file, upload.filename, upload.size)
    owned = OwnedFile(stored.id, call.principal.user_id, datetime.now(UTC), stored.filename, stored.bytes)
    try:
        await services.ownership.add_file(owned)
    except BaseException:
        with anyio.CancelScope(shield=True):
            await services.files.delete(stored.id)
        raise
    return _response(owned)


async def list_files(call: Call[None, PageQuery]) -> FilesListResponse:
    query = call.query
    user_id = None if call.permits(Action.ADMIN) else call.principal.user_id
    # One more than wanted tells whether there are more.
    found: list[OwnedFile] = await call.services.services.ownership.files(
        user_id, limit=query.limit + 1, order=query.order, after=query.after, before=query.before
    )
    has_more = len(found) > query.limit
    if query.before is not None and query.after is None:
        found = found[-query.limit :]
    found = found[: query.limit]
    return FilesListResponse(
        data=[_response(file) for file in found],
        has_more=has_more,
        first_id=found[0].id if found else None,
        last_id=found[-1].id if found else None,
    )


async def get_file(call: Call) -> FileResponse:
    file_id = call.path["file_id"]
    owned = await readable_file(call, file_id)
    if not owned:
        raise NotFound(_FILE, file_id)
    return _response(owned)


async def delete_file(call: Call) -> FileDeleteResponse:
    services, file_id = call.services.services, call.path["file_id"]
    deleted = False
    if await readable_file(call, file_id):
        # The row goes last: whoever is cut off finds the file still, and can remove it again.
        await services.files.delete(file_id)
        deleted = await services.ownership.remove_file(file_id)
    return FileDeleteResponse(
        deleted=deleted,
        file_id=file_id,
        response="File deleted successfully" if deleted else "File not found",
    )


async def readable_file(call: Call[Any, Any], file_id: str) -> OwnedFile | None:
    """The row of a file if the caller may use it; None also for a file that is somebody else's."""
    owned: OwnedFile | None = await call.services.services.ownership.file(file_id)
    if owned is None or owned.user_id == call.principal.user_id or call.permits(Action.ADMIN):
        return owned
    return None


def _response(file: OwnedFile) -> FileResponse:
    return FileResponse(
        id=file.id, filename=file.filename, bytes=file.bytes, created_at=int(file.created_at.timestamp())
    )


ENDPOINTS = (
    Endpoint(
        "POST",
        _PATH,
        upload_file,
        action=Action.MANAGE_FILES,
        tags=_TAGS,
        summary="Upload a file",
        description="100 MB at most.",
        reads=UploadForm,
        request_media_type="multipart/form-data",
        response=FileResponse,
        errors=(BadRequest, TooLarge, Unprocessable, StorageError, Unavailable),
        max_body=MAX_UPLOAD + MAX_OVERHEAD,
    ),
    Endpoint(
        "GET",
        _PATH,
        list_files,
        action=Action.MANAGE_FILES,
        tags=_TAGS,
        summary="List your files",
        description="With the action `admin` everyone's.",
        query=PageQuery,
        response=FilesListResponse,
        errors=(NotFound, StorageError),
    ),
    Endpoint(
        "GET",
        _ONE,
        get_file,
        action=Action.MANAGE_FILES,
        tags=_TAGS,
        summary="Read what is known of a file",
        response=FileResponse,
        errors=(NotFound, StorageError),
    ),
    Endpoint(
        "DELETE",
        _ONE,
        delete_file,
        action=Action.MANAGE_FILES,
        tags=_TAGS,
        summary="Delete a file",
        description="What vector stores have read from it stays there.",
        response=FileDeleteResponse,
        errors=(StorageError,),
    ),
)
