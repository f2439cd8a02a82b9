"""What users think of answers, as files."""

import logging
import re
import uuid
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Set
from contextlib import suppress
from datetime import UTC, datetime
from functools import partial
from itertools import batched
from pathlib import Path
from typing import Any

from anyio import to_thread
from pydantic_core import from_json

from lightspeed.storage.encoding import json_bytes, storable_text
from lightspeed.storage.files import reported, write_atomically
from lightspeed.storage.identifiers import normalize_conversation_id
from lightspeed.storage.removal import names_in, read_file, remove_older

logger = logging.getLogger(__name__)

type Wanted = Callable[[Mapping[str, Any]], bool]

_AT_ONCE = 500
_FILE_NAME = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}\.json")
_FIELDS = (
    "conversation_id",
    "user_question",
    "llm_response",
    "sentiment",
    "user_feedback",
    "categories",
)


class FeedbackStore:
    """Writes `<root>/<uuid4>.json`, one file a feedback."""

    def __init__(self, root: Path) -> None:
        self._root = root

    async def store(self, user_id: str, fields: Mapping[str, Any]) -> None:
        """Write the fields of a feedback request; absent ones become null. Raises StorageError."""
        feedback = {
            "user_id": user_id,
            "timestamp": datetime.now(UTC).isoformat(sep=" ", timespec="microseconds"),
            **{name: fields.get(name) for name in _FIELDS},
        }
        path = self._root / f"{uuid.uuid4()}.json"
        with reported("store feedback", f" at directory: {self._root}"):
            await to_thread.run_sync(_write, path, feedback)

    async def remove_conversations(self, conversation_ids: Collection[str]) -> int:
        """Remove what was said of conversations; returns how many files that were. Raises StorageError."""
        about = partial(_is_about, frozenset(conversation_ids))
        return await self._each("remove feedback", partial(_remove, wanted=about))

    async def remove_user(self, user_id: str) -> int:
        """Remove what a user has said; returns how many files that were. Raises StorageError."""
        by_user = partial(_is_from, storable_text(user_id))
        return await self._each("remove feedback", partial(_remove, wanted=by_user))

    async def count_user(self, user_id: str) -> int:
        """How much feedback there is from a user. Raises StorageError."""
        by_user = partial(_is_from, storable_text(user_id))
        return await self._each("read feedback", partial(_count, wanted=by_user))

    async def remove_older(self, before: datetime) -> int:
        """Remove what was written before; returns how many files that were. Raises StorageError."""
        older = partial(remove_older, before=before, shape=[_FILE_NAME.fullmatch])
        return await self._each("remove feedback", older)

    async def _each(self, task: str, work: Callable[[Path, Iterable[str]], int]) -> int:
        """Some files at a time, so that the service need not wait for all of them before it can stop."""
        total = 0
        with reported(task):
            for names in batched(await to_thread.run_sync(names_in, self._root), _AT_ONCE):
                total += await to_thread.run_sync(work, self._root, names)
        return total


def _write(path: Path, feedback: dict[str, Any]) -> None:
    write_atomically(path, json_bytes(feedback))


def _remove(root: Path, names: Iterable[str], wanted: Wanted) -> int:
    removed = 0
    for name in _found(root, names, wanted):
        with suppress(FileNotFoundError):
            (root / name).unlink()
            removed += 1
    return removed


def _count(root: Path, names: Iterable[str], wanted: Wanted) -> int:
    return sum(1 for _ in _found(root, names, wanted))


def _found(root: Path, names: Iterable[str], wanted: Wanted) -> Iterator[str]:
    for name in filter(_FILE_NAME.fullmatch, names):
        content = read_file(root, name)
        try:
            feedback = content and from_json(content)
        except ValueError:
            logger.warning("%s is not feedback, and is left alone", root / name)
            continue
        if isinstance(feedback, dict) and wanted(feedback):
            yield name


def _is_from(user_id: str, feedback: Mapping[str, Any]) -> bool:
    return bool(feedback.get("user_id") == user_id)


def _is_about(conversation_ids: Set[str], feedback: Mapping[str, Any]) -> bool:
    given = feedback.get("conversation_id")
    # Other programs may have written the id in another of its spellings.
    return isinstance(given, str) and normalize_conversation_id(given) in conversation_ids
