"""Reads the header of a GGUF file, to refuse a wrong file before the engine sees it."""

import mmap
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lightspeed.errors import StartupError

MAGIC = b"GGUF"
VERSIONS = (2, 3)
STRING, ARRAY = 8, 9
SCALARS = {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "?", 10: "Q", 11: "q", 12: "d"}


@dataclass(frozen=True, slots=True)
class GGUFHeader:
    """What the file says about its model; `size` is in bytes, `context_length` in tokens."""

    path: Path
    size: int
    architecture: str
    name: str | None
    context_length: int | None
    chat_template: str | None


def read_header(path: Path) -> GGUFHeader:
    """The header of the GGUF file at `path`.

    Raises StartupError, one line with the path, when it is no readable and complete GGUF file.
    """
    if path.is_dir():
        raise StartupError(f"Model file {path} is a folder: name the .gguf file inside it")
    try:
        size = path.stat().st_size
        with path.open("rb") as file:
            if file.read(4) != MAGIC:
                raise StartupError(f"Model file {path} is not a GGUF file")
            with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
                metadata = _Reader(data, path).read()
    except OSError as error:
        raise StartupError(f"Model file {path} cannot be read: {error.strerror or error}") from error
    except (struct.error, UnicodeDecodeError, KeyError, OverflowError) as error:
        raise StartupError(f"Model file {path} is damaged or truncated: its header cannot be read") from error
    architecture = str(metadata.get("general.architecture", "unknown"))
    return GGUFHeader(
        path=path,
        size=size,
        architecture=architecture,
        name=metadata.get("general.name"),
        context_length=metadata.get(f"{architecture}.context_length"),
        chat_template=metadata.get("tokenizer.chat_template"),
    )


class _Reader:
    def __init__(self, data: mmap.mmap, path: Path) -> None:
        self._data = data
        self._path = path
        self._at = len(MAGIC)

    def read(self) -> dict[str, Any]:
        (version,) = self._take("<I")
        if version not in VERSIONS:
            raise StartupError(
                f"Model file {self._path} has GGUF version {version}: only 2 and 3 are supported"
            )
        tensors, entries = self._take("<QQ")
        if not tensors or not entries:
            raise StartupError(f"Model file {self._path} holds no model")
        metadata = {}
        for _ in range(entries):
            key = self._string()
            metadata[key] = self._value(*self._take("<I"))
        self._require_tensors(tensors)
        return metadata

    def _require_tensors(self, count: int) -> None:
        last = 0
        for _ in range(count):
            self._skip_string()
            (dimensions,) = self._take("<I")
            self._at += 8 * dimensions
            _, offset = self._take("<IQ")
            last = max(last, offset)
        if self._at + last >= len(self._data):
            raise StartupError(
                f"Model file {self._path} is truncated: {len(self._data)} bytes are not all of it"
            )

    def _value(self, kind: int) -> Any:
        if kind == STRING:
            return self._string()
        if kind != ARRAY:
            return self._take("<" + SCALARS[kind])[0]
        element, count = self._take("<IQ")
        if element in SCALARS:
            self._at += count * struct.calcsize("<" + SCALARS[element])
        else:
            for _ in range(count):
                self._skip_string() if element == STRING else self._value(element)
        return None

    def _string(self) -> str:
        (length,) = self._take("<Q")
        if length > len(self._data) - self._at:
            raise struct.error("string beyond the end of the file")
        text = self._data[self._at : self._at + length]
        self._at += length
        return text.decode()

    def _skip_string(self) -> None:
        (length,) = self._take("<Q")
        self._at += length

    def _take(self, layout: str) -> tuple[Any, ...]:
        values = struct.unpack_from(layout, self._data, self._at)
        self._at += struct.calcsize(layout)
        return values
