"""A file as `multipart/form-data`, read from the disk piece by piece while it is sent."""

from collections.abc import AsyncIterator, Mapping
from secrets import token_hex
from typing import BinaryIO

from anyio import to_thread

_PIECE = 262_144  # bytes
_ESCAPED = str.maketrans(
    {'"': "%22", "\r": "%0D", "\n": "%0A"}
)  # https://html.spec.whatwg.org/#multipart-form-data


class FileForm:
    """A form of plain fields and one file of `size` bytes, which is read from its beginning."""

    def __init__(
        self, fields: Mapping[str, str], name: str, file: BinaryIO, filename: str, size: int
    ) -> None:
        self._boundary = token_hex(16)
        head = "".join(
            f'--{self._boundary}\r\nContent-Disposition: form-data; name="{key}"\r\n\r\n{value}\r\n'
            for key, value in fields.items()
        )
        head += (
            f"--{self._boundary}\r\n"
            f'Content-Disposition: form-data; name="{name}"; filename="{filename.translate(_ESCAPED)}"\r\n'
            "Content-Type: application/octet-stream\r\n\r\n"
        )
        self._head = head.encode()
        self._tail = f"\r\n--{self._boundary}--\r\n".encode()
        self._file = file
        self._size = size

    @property
    def headers(self) -> dict[str, str]:
        return {
            "Content-Type": f"multipart/form-data; boundary={self._boundary}",
            "Content-Length": str(len(self._head) + self._size + len(self._tail)),
        }

    async def content(self) -> AsyncIterator[bytes]:
        """Raises OSError if the file cannot be read, and ValueError if it has become shorter."""
        yield self._head
        await to_thread.run_sync(self._file.seek, 0)
        left = self._size
        while left:
            piece = await to_thread.run_sync(self._file.read, min(_PIECE, left))
            if not piece:
                raise ValueError("the file is shorter than it was")
            left -= len(piece)
            yield piece
        yield self._tail
