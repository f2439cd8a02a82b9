"""The uploaded files that the server keeps."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, BinaryIO

from lightspeed.errors import BadRequest, NotFound, TooLarge
from lightspeed.stack.remote.failures import NotServed
from lightspeed.stack.remote.multipart import FileForm
from lightspeed.stack.remote.paths import segment
from lightspeed.stack.remote.server import StackServer
from lightspeed.stack.stored_objects import StoredFile
from lightspeed.stack.upload_refusal import upload_refusal

_FILE = "File"


class RemoteFiles:
    """All methods raise Unavailable if the server keeps no files."""

    def __init__(self, server: StackServer) -> None:
        self._server = server

    def check(self) -> None:
        """Whether the server keeps files is known only when one is sent."""

    async def upload(self, file: BinaryIO, filename: str, size: int) -> StoredFile:
        """Keep `size` bytes, read from the beginning of an open file. Raises BadRequest and TooLarge."""
        form = FileForm({"purpose": "assistants"}, "file", file, filename, size)
        try:
            with _served():
                return _file(
                    await self._server.upload("/files", form.content(), form.headers, identifier=filename)
                )
        except (BadRequest, TooLarge) as error:
            raise upload_refusal(error) from error

    async def get(self, file_id: str) -> StoredFile:
        """Raises NotFound."""
        with _served():
            return _file(await self._server.get(_path(file_id), resource=_FILE, identifier=file_id))

    async def delete(self, file_id: str) -> bool:
        """Remove a file and what it holds. False if it is not there."""
        try:
            with _served():
                await self._server.delete(_path(file_id), resource=_FILE, identifier=file_id)
        except NotFound:
            return False
        return True


def _path(file_id: str) -> str:
    return f"/files/{segment(file_id, _FILE)}"


def _file(found: Mapping[str, Any]) -> StoredFile:
    return StoredFile(str(found["id"]), str(found["filename"]), int(found["bytes"]), int(found["created_at"]))


@contextmanager
def _served() -> Iterator[None]:
    try:
        yield
    except NotServed as error:
        raise NotServed(
            "The Llama Stack server keeps no files: its run.yaml needs a provider in `providers.files`.",
            response="Files are not available",
        ) from error
