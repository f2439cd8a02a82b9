"""Turns that could not be recorded yet: kept on disk until the database is back."""

import logging
import sys
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from anyio import to_thread
from pydantic import TypeAdapter, ValidationError

from lightspeed.storage.encoding import json_bytes, storable_text
from lightspeed.storage.files import reported, write_atomically
from lightspeed.storage.identifiers import file_name
from lightspeed.storage.records import TurnRecord
from lightspeed.storage.removal import names_in

logger = logging.getLogger(__name__)

# Not .json: an exporter that is given the folder above ships and deletes every such file.
_SUFFIX = ".pending"
_MOST_IN_MEMORY = 1000
_ALL = sys.maxsize


@dataclass(frozen=True, slots=True)
class PendingTurn:
    """A turn, and whether it begins its conversation."""

    turn: TurnRecord
    begins: bool


_codec = TypeAdapter(PendingTurn)


class PendingTurns:
    """A folder that all processes of the service share. A turn that cannot be written to it stays in memory."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._in_memory: dict[str, PendingTurn] = {}

    async def add(self, pending: PendingTurn) -> bool:
        """Keep a turn. True when it is on disk, where it survives this process."""
        path = self._path(pending.turn)
        try:
            await to_thread.run_sync(_write, path, pending)
        except OSError as error:
            logger.error("A turn that waits for the database cannot be written to disk: %s", error)
            self._in_memory[path.name] = pending
            if len(self._in_memory) > _MOST_IN_MEMORY:
                oldest = min(self._in_memory)
                del self._in_memory[oldest]
                logger.error("A turn is lost: more than %d wait in memory", _MOST_IN_MEMORY)
            return False
        self._in_memory.pop(path.name, None)
        return True

    async def oldest(self, limit: int) -> list[PendingTurn]:
        """The turns that have waited longest, oldest first; unreadable files are set aside. Raises StorageError."""
        with reported("read waiting turns"):
            on_disk = await to_thread.run_sync(_read, self._folder, limit)
        both = self._in_memory | on_disk
        return [both[name] for name in sorted(both)[:limit]]

    async def remove(self, turn: TurnRecord) -> None:
        """Forget a turn, because it has been recorded. Raises StorageError."""
        path = self._path(turn)
        self._in_memory.pop(path.name, None)
        with reported("remove a waiting turn"):
            await to_thread.run_sync(_unlink, path)

    async def participants(self) -> dict[str, set[str]]:
        """The conversations to which waiting turns belong, with the users who asked. Raises StorageError."""
        found: dict[str, set[str]] = {}
        for pending in await self.oldest(_ALL):
            found.setdefault(pending.turn.conversation_id, set()).add(pending.turn.user_id)
        return found

    async def count_user(self, user_id: str) -> int:
        """How many turns of a user wait. Raises StorageError."""
        return sum(_is_from(user_id, pending.turn) for pending in await self.oldest(_ALL))

    async def discard_conversation(self, conversation_id: str) -> int:
        """Forget the turns of a conversation, because it has been deleted; returns how many there were.

        Raises StorageError.
        """
        return await self._discard(lambda turn: turn.conversation_id == conversation_id)

    async def discard_user(self, user_id: str) -> int:
        """Forget the turns of a user; returns how many there were. Raises StorageError."""
        return await self._discard(partial(_is_from, user_id))

    async def _discard(self, unwanted: Callable[[TurnRecord], bool]) -> int:
        in_memory = {name for name, pending in self._in_memory.items() if unwanted(pending.turn)}
        for name in in_memory:
            del self._in_memory[name]
        with reported("remove waiting turns"):
            on_disk = await to_thread.run_sync(_discard, self._folder, unwanted)
        return len(in_memory | on_disk)

    def _path(self, turn: TurnRecord) -> Path:
        return self._folder / f"{turn.completed_at.timestamp():.6f}-{file_name(turn.request_id)}{_SUFFIX}"


def _is_from(user_id: str, turn: TurnRecord) -> bool:
    return storable_text(turn.user_id) == storable_text(user_id)


def _write(path: Path, pending: PendingTurn) -> None:
    write_atomically(path, json_bytes(_codec.dump_python(pending)))


def _read(folder: Path, limit: int) -> dict[str, PendingTurn]:
    found: dict[str, PendingTurn] = {}
    for name in sorted(name for name in names_in(folder) if name.endswith(_SUFFIX))[:limit]:
        path = folder / name
        try:
            found[name] = _codec.validate_json(path.read_bytes())
        except FileNotFoundError:
            continue
        except OSError as error:
            logger.error("%s cannot be read now: %s", path, error)
        except ValidationError:
            logger.error("%s is damaged, and is set aside", path)
            with suppress(FileNotFoundError):
                path.rename(path.with_suffix(".unreadable"))
    return found


def _discard(folder: Path, unwanted: Callable[[TurnRecord], bool]) -> set[str]:
    names = {name for name, pending in _read(folder, _ALL).items() if unwanted(pending.turn)}
    for name in names:
        _unlink(folder / name)
    return names


def _unlink(path: Path) -> None:
    path.unlink(missing_ok=True)
