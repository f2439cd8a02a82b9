"""Files that clients upload as `multipart/form-data`, read part by part into a temporary file."""

import re
import tempfile
import unicodedata
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from typing import BinaryIO, Final, cast

import anyio
from anyio import to_thread
from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header
from starlette.requests import Request

from lightspeed.api.errors import SchemaError
from lightspeed.errors import BadRequest, StorageError, TooLarge
from lightspeed.storage.files import write_all

MAX_UPLOAD: Final = 104_857_600  # bytes
# What a body may hold beside the file: boundaries, headers, other fields.
MAX_OVERHEAD: Final = 1024 * 1024

_WRITTEN_AT_ONCE = 1024 * 1024
_MOST_PARTS = 100
_LONGEST_NAME = 255  # bytes, as in most file systems
_SEPARATORS = re.compile(r"[/\\]")
_BLANKS = re.compile(r"\s+")


@dataclass(frozen=True, slots=True)
class Upload:
    """`file` is open at its beginning and holds `size` bytes; it is gone when it is closed."""

    file: BinaryIO
    filename: str
    size: int


@asynccontextmanager
async def uploaded(
    request: Request, field: str = "file", *, limit: int = MAX_UPLOAD
) -> AsyncIterator[Upload]:
    """The file of a form. It stays until the context ends, and never longer, whatever happens.

    Raises SchemaError if the form has no such field, BadRequest if it cannot be read, TooLarge beyond `limit` bytes,
    StorageError if the disk is full.
    """
    boundary = _boundary(request, field)
    announced = _announced(request)
    if announced > limit + MAX_OVERHEAD:
        raise file_too_large(announced, limit)
    file = await to_thread.run_sync(_temporary_file)
    try:
        form = _Form(boundary, field, limit)
        try:
            async for chunk in request.stream():
                form.feed(chunk)
                if len(form.pending) >= _WRITTEN_AT_ONCE:
                    await to_thread.run_sync(_write, file, form.take())
        except TooLarge:
            # Also for a body that is too large in other ways.
            raise file_too_large(max(announced, form.size, limit + 1), limit) from None
        form.end()
        await to_thread.run_sync(_finish, file, form.take())
        yield Upload(file, safe_name(form.filename), form.size)
    finally:
        with anyio.CancelScope(shield=True):
            await to_thread.run_sync(file.close)


def file_too_large(size: int, limit: int = MAX_UPLOAD) -> TooLarge:
    return TooLarge(
        f"File size {size} bytes exceeds maximum allowed size of {limit} bytes ({limit // 1024**2} MB)",
        response="File too large",
    )


def safe_name(given: str) -> str:
    """The name without folders and invisible characters; with `.txt` if it has no extension."""
    last = _SEPARATORS.split(given)[-1]
    visible = "".join(
        sign for sign in last if sign.isspace() or not unicodedata.category(sign).startswith("C")
    )
    name = _BLANKS.sub(" ", visible).strip(" .") or "uploaded_file"
    stem, dot, extension = name.rpartition(".")
    if not stem or not dot:
        stem, extension = name, "txt"
    extension = _shortened(extension, _LONGEST_NAME // 2)
    return f"{_shortened(stem, _LONGEST_NAME - 1 - len(extension.encode()))}.{extension}"


class _Form:
    """Takes a body apart; of the wanted part it hands over the bytes, all others are passed over."""

    def __init__(self, boundary: bytes, field: str, limit: int) -> None:
        self._field = field
        self._limit = limit
        self._parts = 0
        self._disposition = b""
        self._header = b""
        self._value = b""
        self._is_wanted = False
        self._found = False
        self._ended = False
        self.filename = ""
        self.size = 0
        self.pending = bytearray()
        try:
            self._parser = MultipartParser(
                boundary,
                {
                    "on_part_begin": self._begin_part,
                    "on_header_field": self._add_to_header,
                    "on_header_value": self._add_to_value,
                    "on_header_end": self._end_header,
                    "on_headers_finished": self._end_headers,
                    "on_part_data": self._add_data,
                    "on_end": self._end_body,
                },
            )
        except FormParserError as error:
            raise _malformed(str(error)) from None

    def feed(self, data: bytes) -> None:
        try:
            self._parser.write(data)
        except FormParserError as error:
            raise _malformed(str(error)) from None

    def take(self) -> bytes:
        """The bytes since the last call."""
        taken = bytes(self.pending)
        self.pending.clear()
        return taken

    def end(self) -> None:
        if not self._ended:
            raise _malformed("it ends before its last boundary")
        if not self._found:
            raise SchemaError.missing("body", self._field)

    def _begin_part(self) -> None:
        self._parts += 1
        if self._parts > _MOST_PARTS:
            raise _malformed(f"it has more than {_MOST_PARTS} parts")
        self._disposition = self._header = self._value = b""
        self._is_wanted = False

    def _add_to_header(self, data: bytes, start: int, end: int) -> None:
        self._header += data[start:end]

    def _add_to_value(self, data: bytes, start: int, end: int) -> None:
        self._value += data[start:end]

    def _end_header(self) -> None:
        if self._header.lower() == b"content-disposition":
            self._disposition = self._value
        self._header = self._value = b""

    def _end_headers(self) -> None:
        _, options = parse_options_header(self._disposition)
        self._is_wanted = options.get(b"name") == self._field.encode()
        if not self._is_wanted:
            return
        if self._found:
            raise BadRequest(
                f"The form has more than one field `{self._field}`.", response="Invalid file upload"
            )
        self._found = True
        self.filename = options.get(b"filename", b"").decode(errors="replace")

    def _add_data(self, data: bytes, start: int, end: int) -> None:
        if not self._is_wanted:
            return
        self.size += end - start
        if self.size > self._limit:
            raise file_too_large(self.size, self._limit)
        self.pending += data[start:end]

    def _end_body(self) -> None:
        self._ended = True


def _announced(request: Request) -> int:
    """How many bytes the body has, or 0 if the client does not say."""
    length = request.headers.get("content-length", "")
    return int(length[:18]) if length.isascii() and length.isdigit() else 0


def _boundary(request: Request, field: str) -> bytes:
    kind, options = parse_options_header(request.headers.get("content-type"))
    if kind != b"multipart/form-data":
        raise SchemaError.missing("body", field)
    if not options.get(b"boundary"):
        raise _malformed("its content type names no boundary")
    return options[b"boundary"]


def _malformed(reason: str) -> BadRequest:
    return BadRequest(f"The form cannot be read: {reason}", response="Invalid file upload")


def _temporary_file() -> BinaryIO:
    """Without a name in the file system: nothing is left even of a process that is killed."""
    with _stored():
        return cast("BinaryIO", tempfile.TemporaryFile(buffering=0))


def _write(file: BinaryIO, data: bytes) -> None:
    with _stored():
        write_all(file.fileno(), data)


def _finish(file: BinaryIO, rest: bytes) -> None:
    _write(file, rest)
    file.seek(0)


@contextmanager
def _stored() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise StorageError(
            f"The folder for temporary files takes no upload: {error.strerror}",
            response="File storage failed",
        ) from error


def _shortened(text: str, size: int) -> str:
    return text.encode()[: max(size, 1)].decode(errors="ignore")
