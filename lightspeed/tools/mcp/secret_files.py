"""Secrets in files, which may change while the service runs."""

import logging
from collections.abc import Collection
from pathlib import Path

from anyio import to_thread

from lightspeed.tools.mcp.header_rules import sendable

logger = logging.getLogger(__name__)

_LARGEST = 64 * 1024  # bytes

type _Stamp = tuple[int, int, int]


class SecretFiles:
    """Reads each file again when its time, size or inode has changed, so that a secret can be rotated."""

    def __init__(self) -> None:
        self._known: dict[str, tuple[_Stamp, str]] = {}
        self._warned: set[str] = set()

    async def read(self, paths: Collection[str]) -> dict[str, str]:
        """The trimmed text of each file, by path; one that is missing, empty or no text is left out."""
        return await to_thread.run_sync(self._read_all, paths) if paths else {}

    def _read_all(self, paths: Collection[str]) -> dict[str, str]:
        return {path: text for path in paths if (text := self._current(path))}

    def _current(self, path: str) -> str:
        try:
            file = Path(path).expanduser()
            state = file.stat()
            stamp = (state.st_mtime_ns, state.st_size, state.st_ino)
            known = self._known.get(path)
            if known is not None and known[0] == stamp:
                return known[1]
            with file.open("rb") as opened:
                text = sendable(opened.read(_LARGEST).decode())
        except (OSError, ValueError, RuntimeError):
            self._known.pop(path, None)
            self._warn(path)
            return ""
        self._known[path] = (stamp, text)
        if text:
            self._warned.discard(path)
        else:
            self._warn(path)
        return text

    def _warn(self, path: str) -> None:
        if path not in self._warned:
            self._warned.add(path)
            logger.warning(
                "The secret of an MCP server cannot be read: %s is missing, empty or no text", path
            )
