"""The stack's files provider."""

import re
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

from anyio import CancelScope, to_thread
from fastapi import Response, UploadFile
from llama_stack_api import (
    DeleteFileRequest,
    HealthResponse,
    HealthStatus,
    ListFilesRequest,
    ListOpenAIFileResponse,
    OpenAIFileDeleteResponse,
    OpenAIFileObject,
    OpenAIFileObjectNotFoundError,
    Order,
    RetrieveFileContentRequest,
    RetrieveFileRequest,
    UploadFileRequest,
)
from llama_stack_api.common.errors import FileTooLargeError

from lightspeed.errors import RequestError, StartupError
from lightspeed.stack.providers.local_files.config import LocalFilesConfig
from lightspeed.stack.providers.local_files.folder import FileFolder, StoredFile, Upload

_READ_AT_ONCE = 1 << 20
_SECOND = 1_000_000_000
_MOST_LISTED = 10_000
_LONGEST_NAME = 255
_UNNAMED = "uploaded_file"
_CONTROL_SIGNS = re.compile(r"[\x00-\x1f\x7f\ud800-\udfff]")


class LocalFiles:
    """Implements the stack's `Files`. A file that is not there, or has expired, is an OpenAIFileObjectNotFoundError."""

    def __init__(self, config: LocalFilesConfig) -> None:
        self.config = config
        self._folder = FileFolder(Path(config.path).expanduser())

    async def initialize(self) -> None:
        """Raises StartupError."""
        try:
            await to_thread.run_sync(self._folder.open)
        except RequestError as error:
            raise StartupError(f"files in {self.config.path}: {error.cause}") from error

    async def shutdown(self) -> None:
        """Nothing is open between two calls."""

    async def health(self) -> HealthResponse:
        try:
            await to_thread.run_sync(self._folder.files)
        except RequestError as error:
            return HealthResponse(status=HealthStatus.ERROR, message=error.cause)
        return HealthResponse(status=HealthStatus.OK)

    async def openai_upload_file(self, request: UploadFileRequest, file: UploadFile) -> OpenAIFileObject:
        """Store a file as it is read, part by part. Raises FileTooLargeError as soon as it is too large."""
        declared = getattr(file, "size", None)
        if declared is not None and declared > self.config.max_bytes:
            raise FileTooLargeError(declared, self.config.max_bytes)
        upload = await to_thread.run_sync(self._folder.begin)
        try:
            await self._receive(file, upload)
            now = time.time_ns()
            expires = request.expires_after
            stored = StoredFile(
                id=upload.id,
                filename=_plain_name(file.filename),
                purpose=request.purpose.value,
                size=upload.size,
                created_ns=now,
                expires_ns=None if expires is None else now + expires.seconds * _SECOND,
            )
            await to_thread.run_sync(self._folder.finish, upload, stored)
        except BaseException:
            with CancelScope(shield=True):
                await to_thread.run_sync(lambda: upload.close(keep=False))
            raise
        return _object(stored)

    async def openai_list_files(self, request: ListFilesRequest) -> ListOpenAIFileResponse:
        """Raises ValueError for a limit beyond 1 to 10000, and for a cursor that is no file."""
        limit = _MOST_LISTED if request.limit is None else request.limit
        if not 1 <= limit <= _MOST_LISTED:
            raise ValueError(f"The limit of a list of files is 1 to {_MOST_LISTED}, not {limit}.")
        now = time.time_ns()
        files = [file for file in await to_thread.run_sync(self._folder.files) if not _has_expired(file, now)]
        if request.order != Order.asc:
            files.reverse()
        if request.after:
            places = [place for place, file in enumerate(files) if file.id == request.after]
            if not places:
                raise ValueError(f"There is no file {request.after} to list after.")
            files = files[places[0] + 1 :]
        if request.purpose:
            files = [file for file in files if file.purpose == request.purpose.value]
        page = files[:limit]
        return ListOpenAIFileResponse(
            data=[_object(file) for file in page],
            has_more=len(files) > limit,
            first_id=page[0].id if page else "",
            last_id=page[-1].id if page else "",
        )

    async def openai_retrieve_file(self, request: RetrieveFileRequest) -> OpenAIFileObject:
        return _object(await self._file(request.file_id))

    async def openai_delete_file(self, request: DeleteFileRequest) -> OpenAIFileDeleteResponse:
        file = await self._file(request.file_id)
        await to_thread.run_sync(self._folder.remove, file.id)
        return OpenAIFileDeleteResponse(id=file.id, deleted=True)

    async def openai_retrieve_file_content(self, request: RetrieveFileContentRequest) -> Response:
        """The content, whole."""
        file = await self._file(request.file_id)
        content = await to_thread.run_sync(self._folder.content, file.id)
        if content is None:
            raise OpenAIFileObjectNotFoundError(file.id)
        return Response(
            content=content,
            media_type="application/octet-stream",
            headers={"Content-Disposition": f"attachment; filename*=UTF-8''{quote(file.filename, safe='')}"},
        )

    async def _receive(self, file: UploadFile, upload: Upload) -> None:
        async for part in _parts(file):
            if upload.size + len(part) > self.config.max_bytes:
                raise FileTooLargeError(upload.size + len(part), self.config.max_bytes)
            await to_thread.run_sync(self._folder.write, upload, part)

    async def _file(self, file_id: str) -> StoredFile:
        file = await to_thread.run_sync(self._folder.get, file_id)
        if file is None:
            raise OpenAIFileObjectNotFoundError(file_id)
        if _has_expired(file, time.time_ns()):
            await to_thread.run_sync(self._folder.remove, file.id)
            raise OpenAIFileObjectNotFoundError(file_id)
        return file


async def _parts(file: Any) -> AsyncIterator[bytes]:
    while True:
        try:
            part: bytes = await file.read(_READ_AT_ONCE)
        except TypeError:
            # The library client's own file can only be read whole.
            yield await file.read()
            return
        if not part:
            return
        yield part


def _plain_name(given: str | None) -> str:
    """The last part of a name that a client gives, fit for a header and for a file system."""
    name = _CONTROL_SIGNS.sub("", (given or "").replace("\\", "/")).rpartition("/")[2].strip()
    if name in ("", ".", ".."):
        return _UNNAMED
    if len(name) <= _LONGEST_NAME:
        return name
    stem, dot, suffix = name.rpartition(".")
    ending = f".{suffix}" if dot and stem and len(suffix) < 20 else ""
    return name[: _LONGEST_NAME - len(ending)] + ending


def _has_expired(file: StoredFile, now: int) -> bool:
    return file.expires_ns is not None and file.expires_ns <= now


def _object(file: StoredFile) -> OpenAIFileObject:
    return OpenAIFileObject(
        id=file.id,
        bytes=file.size,
        created_at=file.created_ns // _SECOND,
        expires_at=None if file.expires_ns is None else file.expires_ns // _SECOND,
        filename=file.filename,
        purpose=file.purpose,
    )
