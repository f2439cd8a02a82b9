"""Documents: what one is, how the files of a knowledge store are found and how a file is read."""

import hashlib
import logging
import re
import stat
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from lightspeed.documents.finding import DocumentError, SourceFile, find_files
from lightspeed.documents.formats.encoding import encodable
from lightspeed.documents.formats.format import FormatError, Section
from lightspeed.documents.formats.registry import format_of

__all__ = [
    "Document",
    "DocumentError",
    "EmptyDocument",
    "Section",
    "SourceFile",
    "UnsupportedFormat",
    "document_id",
    "find_files",
    "parse_document",
    "read_bytes",
]

logger = logging.getLogger(__name__)

MAX_BYTES = 50 * 1024 * 1024
# A store keeps these with every chunk, so a page whose title is a book must not be multiplied.
_LONGEST_TITLE = 300
_LONGEST_URL = 2000


class UnsupportedFormat(DocumentError):
    """No format claims the file's name."""


class EmptyDocument(DocumentError):
    """The file has no text."""


@dataclass(frozen=True, slots=True)
class Document:
    """One readable document.

    `id` depends on `name` alone: the file's path relative to the folder that was given (with `/`), or a
    url. `path` is the place to show to the operator. `content_hash` is the SHA-256 of the bytes in hex.
    """

    id: str
    name: str
    title: str
    url: str | None
    path: str
    sections: tuple[Section, ...]
    content_hash: str


def read_bytes(source: SourceFile, *, max_bytes: int = MAX_BYTES) -> bytes:
    """What is in a file of a known format. Raises DocumentError."""
    path = str(source.path)
    if format_of(source.path.name) is None:
        raise _unsupported(source.path.name, path)
    try:
        status = source.path.stat()
        if not stat.S_ISREG(status.st_mode):
            raise DocumentError(path, "not a file")
        if status.st_size > max_bytes:
            raise _too_large(path, status.st_size, max_bytes)
        return source.path.read_bytes()
    except OSError as error:
        raise DocumentError(path, (error.strerror or type(error).__name__).lower()) from error


def parse_document(
    data: bytes,
    *,
    name: str,
    path: str | None = None,
    file_name: str | None = None,
    max_bytes: int = MAX_BYTES,
) -> Document:
    """Makes a document of a file's bytes. Raises DocumentError, and MemoryError.

    `file_name`, or else the last part of `name`, tells the format.
    """
    path = path or name
    file_name = file_name or PurePosixPath(name).name
    file_format = format_of(file_name)
    if file_format is None:
        raise _unsupported(file_name, path)
    if len(data) > max_bytes:
        raise _too_large(path, len(data), max_bytes)
    try:
        content = file_format.read(data) if data.strip() else None
    except FormatError as error:
        raise DocumentError(path, str(error)) from error
    except MemoryError:
        raise
    except Exception as error:
        # A parser that trips over one file must not end the ingest of all others.
        logger.debug("%s cannot be read", path, exc_info=True)
        raise DocumentError(path, f"not readable ({type(error).__name__})") from error
    if content is None or not content.sections:
        raise EmptyDocument(path, "no text")
    return Document(
        id=document_id(name),
        name=name,
        title=shortened(encodable(content.title or ""), _LONGEST_TITLE) or _readable(PurePosixPath(name)),
        url=encodable(content.url) if content.url and len(content.url) <= _LONGEST_URL else None,
        path=path,
        sections=content.sections,
        content_hash=content_hash(data),
    )


def content_hash(data: bytes) -> str:
    """The SHA-256 of a file in hex."""
    return hashlib.sha256(data).hexdigest()


def document_id(name: str) -> str:
    """The id of the document of that name: 32 hex digits, the same on every machine."""
    return hashlib.sha256(name.encode()).hexdigest()[:32]


def shortened(text: str, most: int) -> str:
    """The text, or its beginning and a mark where it has more than `most` characters."""
    return text if len(text) <= most else f"{text[: most - 1].rstrip()}…"


def _readable(name: PurePosixPath) -> str:
    stem = name.stem
    if stem.lower() in ("index", "readme", "_index") and name.parent.name:
        stem = name.parent.name
    words = " ".join(re.split(r"[\s_-]+", stem)).strip() or name.name
    return words[0].upper() + words[1:] if words.islower() else words


def _unsupported(file_name: str, path: str) -> DocumentError:
    suffix = Path(file_name).suffix
    return UnsupportedFormat(path, f"unsupported type {suffix}" if suffix else "unsupported type")


def _too_large(path: str, size: int, limit: int) -> DocumentError:
    return DocumentError(path, f"{size} bytes, more than the limit of {limit}")
