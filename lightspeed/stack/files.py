"""The uploaded files that the stack keeps."""

from collections.abc import Mapping
from typing import Any, BinaryIO

from llama_stack_api import Api, DeleteFileRequest, RetrieveFileRequest, UploadFileRequest
from llama_stack_api.files.models import OpenAIFilePurpose
from starlette.datastructures import UploadFile

from lightspeed.errors import BadRequest, NotFound, TooLarge, Unavailable
from lightspeed.stack.stack_errors import reported
from lightspeed.stack.stored_objects import StoredFile
from lightspeed.stack.upload_refusal import upload_refusal


class Files:
    """The files API of the stack. All methods raise Unavailable if run.yaml has none."""

    def __init__(self, impls: Mapping[Any, Any]) -> None:
        self._impl = impls.get(Api.files)

    def check(self) -> None:
        """Raises Unavailable if files cannot be kept."""
        self._kept()

    async def upload(self, file: BinaryIO, filename: str, size: int) -> StoredFile:
        """Keep `size` bytes, read from the beginning of an open file. Raises BadRequest and TooLarge."""
        files = self._kept()
        try:
            with reported("File", filename):
                stored = await files.openai_upload_file(
                    request=UploadFileRequest(purpose=OpenAIFilePurpose.ASSISTANTS),
                    file=UploadFile(file, filename=filename, size=size),
                )
        except (BadRequest, TooLarge) as error:
            raise upload_refusal(error) from error
        return _file(stored)

    async def get(self, file_id: str) -> StoredFile:
        """Raises NotFound."""
        files = self._kept()
        with reported("File", file_id):
            return _file(await files.openai_retrieve_file(RetrieveFileRequest(file_id=file_id)))

    async def delete(self, file_id: str) -> bool:
        """Remove a file and what it holds. False if it is not there."""
        files = self._kept()
        try:
            with reported("File", file_id):
                await files.openai_delete_file(DeleteFileRequest(file_id=file_id))
        except NotFound:
            return False
        return True

    def _kept(self) -> Any:
        if self._impl is None:
            raise Unavailable(
                "The stack keeps no files: run.yaml needs `files` in `apis` and a provider in `providers.files`.",
                response="Files are not available",
            )
        return self._impl


def _file(found: Any) -> StoredFile:
    return StoredFile(found.id, found.filename, found.bytes, found.created_at)
