"""The vectors of a flat FAISS index that is written as base64 of a NumPy file inside a larger text."""

import base64
import sqlite3
import struct

import numpy as np

from lightspeed.stack.providers.faiss_sqlite.chunks import Vectors

# FAISS, index_write.cpp: kind, dimension, rows, two unused numbers, trained, metric, count of floats.
_HEADER = struct.Struct("<4siqqqBiQ")
_KINDS = (b"IxF2", b"IxFI", b"IxFl")
_NUMPY_MAGIC = b"\x93NUMPY"
_FLOAT_BYTES = 4


class FlatIndex:
    """Reads single rows. `dimension` and `count` tell what there is."""

    def __init__(self, text: sqlite3.Blob, start: int, end: int) -> None:
        """The base64 stands from byte `start` to `end` of `text`. Raises ValueError for anything but a flat index."""
        self._text = text
        self._start = start
        self._length = end - start
        self._index_at = self._after_numpy_header()
        header = self._bytes(self._index_at, _HEADER.size)
        if len(header) < _HEADER.size:
            raise ValueError("its index is cut off")
        kind, dimension, count, _, _, _, _, floats = _HEADER.unpack(header)
        self.dimension, self.count = int(dimension), int(count)
        if kind not in _KINDS or self.dimension < 1 or self.count < 0:
            raise ValueError("its index is not a flat one")
        end_of_rows = self._index_at + _HEADER.size + _FLOAT_BYTES * self.dimension * self.count
        if floats != self.count * self.dimension or end_of_rows > self._length // 4 * 3:
            raise ValueError("its index is cut off")

    def row(self, row: int) -> Vectors:
        """One vector, 0 <= row < count."""
        size = _FLOAT_BYTES * self.dimension
        return np.frombuffer(self._bytes(self._index_at + _HEADER.size + row * size, size), "<f4")

    def _after_numpy_header(self) -> int:
        begin = self._bytes(0, 12)
        if begin[:6] != _NUMPY_MAGIC:
            raise ValueError("its index is not a NumPy file")
        if begin[6] == 1:
            return 10 + int.from_bytes(begin[8:10], "little")
        return 12 + int.from_bytes(begin[8:12], "little")

    def _bytes(self, at: int, count: int) -> bytes:
        """Decode from the group of four signs in which byte `at` lies."""
        first = at // 3 * 4
        last = min(-(-(at + count) // 3) * 4, self._length)
        self._text.seek(self._start + first)
        decoded = base64.b64decode(self._text.read(max(last - first, 0)), validate=True)
        return decoded[at % 3 : at % 3 + count]
