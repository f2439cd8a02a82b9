"""Reading one very large JSON value of a database piece by piece."""

import re
import sqlite3
from collections.abc import Iterator

_WINDOW = 1 << 20
_STRING = re.compile(rb'"[^"\\]*+(?:\\.[^"\\]*+)*+"', re.DOTALL)
_SPACE = b" \t\r\n"


class JsonStream:
    """Walks over an object. Raises ValueError where that is broken. Only what is being read is in memory."""

    def __init__(self, value: sqlite3.Blob, at: int = 0) -> None:
        """`value` is the column of a row, opened for incremental reading; `at` is the byte to begin with."""
        self._value = value
        self._value.seek(at)
        self._window = b""
        self._window_at = at
        self._next = 0

    @property
    def at(self) -> int:
        """The byte that is read next."""
        return self._window_at + self._next

    def members(self) -> Iterator[bytes]:
        """The keys of the object that begins here, as they are written; the caller reads or skips each value."""
        self._take(b"{")
        if self._peek() == b"}":
            self._take(b"}")
            return
        while True:
            key = self.string()
            self._take(b":")
            yield key
            if self._take(b",}") == b"}":
                return

    def string(self) -> bytes:
        """The string that begins here, with its quotes and escapes."""
        if self._peek() != b'"':
            raise ValueError(f"a string is expected at byte {self.at}")
        wanted = _WINDOW
        while (found := _STRING.match(self._window, self._next)) is None:
            if not self._read(wanted):
                raise ValueError(f"the string at byte {self.at} does not end")
            wanted *= 2
        self._next = found.end()
        return found[0]

    def string_or_other(self) -> bytes | None:
        """The string that begins here, or None for any other value, which is passed over."""
        if self._peek() == b'"':
            return self.string()
        depth = 0
        while (byte := self._peek()) not in b",}]" or depth:
            if byte == b'"':
                self.string()
                continue
            self._next += 1
            depth += (byte in b"{[") - (byte in b"}]")
        return None

    def skip_members(self) -> int:
        """Pass over the object that begins here. Returns how many members it has."""
        count = 0
        for _ in self.members():
            self.string_or_other()
            count += 1
        return count

    def skip_plain_string(self) -> tuple[int, int]:
        """Where the text of a string without escapes begins and ends."""
        self._take(b'"')
        start = self.at
        while (end := self._window.find(b'"', self._next)) < 0:
            self._next = len(self._window)
            if not self._read(_WINDOW):
                raise ValueError(f"the string at byte {start} does not end")
        self._next = end + 1
        return start, self.at - 1

    def _peek(self) -> bytes:
        """The next byte that is no space."""
        while True:
            while self._next < len(self._window):
                byte = self._window[self._next : self._next + 1]
                if byte not in _SPACE:
                    return byte
                self._next += 1
            if not self._read(_WINDOW):
                raise ValueError("the value ends too early")

    def _take(self, expected: bytes) -> bytes:
        byte = self._peek()
        if byte not in expected:
            raise ValueError(f"one of {expected.decode()!r} is expected at byte {self.at}")
        self._next += 1
        return byte

    def _read(self, count: int) -> bool:
        """Forget what has been read, and read on."""
        more = self._value.read(count)
        self._window_at += self._next
        self._window = self._window[self._next :] + more
        self._next = 0
        return bool(more)
