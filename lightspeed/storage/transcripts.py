"""Turns as files, for those who study how the assistant is used."""

import hashlib
import re
from datetime import UTC, datetime
from itertools import batched
from pathlib import Path
from typing import Any

from anyio import to_thread

from lightspeed.storage.encoding import json_bytes, storable_text
from lightspeed.storage.files import reported, write_atomically
from lightspeed.storage.identifiers import file_name, is_conversation_id
from lightspeed.storage.records import TurnRecord
from lightspeed.storage.removal import count_files, names_in, remove_folder, remove_older

_AT_ONCE = 100
_SHAPE = (re.compile("[0-9a-f]{64}").fullmatch, is_conversation_id, re.compile(r"[^.].*\.json").fullmatch)


class Transcripts:
    """Writes `<root>/<SHA-256 of the user id>/<conversation id>/<request id>.json`, one file a turn."""

    def __init__(self, root: Path) -> None:
        self._root = root

    async def store(
        self,
        turn: TurnRecord,
        *,
        query_provider: str | None = None,
        query_model: str | None = None,
        truncated: bool = False,
    ) -> None:
        """Write a turn. `query_provider` and `query_model` are what was asked for, if not what answered.

        Raises StorageError, or ValueError if the conversation id is not in its stored form.
        """
        if not is_conversation_id(turn.conversation_id):
            raise ValueError("not the stored form of a conversation id")
        user = _hashed(turn.user_id)
        # Named for the request: what is stored twice is one file.
        path = self._root / user / turn.conversation_id / f"{file_name(turn.request_id)}.json"
        metadata = {
            "provider": turn.provider,
            "model": turn.model,
            "query_provider": query_provider or turn.provider,
            "query_model": query_model or turn.model,
            "user_id": user,
            "conversation_id": turn.conversation_id,
            "timestamp": turn.completed_at.astimezone(UTC).isoformat(timespec="microseconds"),
        }
        with reported("store transcript"):
            await to_thread.run_sync(_write, path, _transcript(turn, metadata, truncated))

    async def remove(self, user_id: str, conversation_id: str) -> int:
        """Remove one user's transcripts of a conversation; returns how many there were. Raises StorageError."""
        if not is_conversation_id(conversation_id):
            return 0
        with reported("remove transcripts"):
            return await to_thread.run_sync(remove_folder, self._root, _hashed(user_id), conversation_id)

    async def remove_user(self, user_id: str) -> int:
        """Remove all transcripts of a user; returns how many there were. Raises StorageError."""
        with reported("remove transcripts"):
            return await to_thread.run_sync(remove_folder, self._root, _hashed(user_id))

    async def count_user(self, user_id: str) -> int:
        """How many transcripts there are of a user. Raises StorageError."""
        with reported("read transcripts"):
            return await to_thread.run_sync(count_files, self._root, _hashed(user_id))

    async def remove_older(self, before: datetime) -> int:
        """Remove the transcripts that were written before; returns how many there were. Raises StorageError."""
        removed = 0
        with reported("remove transcripts"):
            for users in batched(await to_thread.run_sync(names_in, self._root), _AT_ONCE):
                removed += await to_thread.run_sync(remove_older, self._root, users, before, _SHAPE)
        return removed


def _hashed(user_id: str) -> str:
    # As the database keeps it, which may be all that is known of the user when transcripts are removed.
    return hashlib.sha256(storable_text(user_id).encode()).hexdigest()


def _transcript(turn: TurnRecord, metadata: dict[str, str], truncated: bool) -> dict[str, Any]:
    # Readers of these files expect this order, and both constants.
    return {
        "metadata": metadata,
        "redacted_query": turn.query,
        "query_is_valid": True,
        "llm_response": turn.answer,
        "rag_chunks": turn.rag_chunks,
        "truncated": truncated,
        "attachments": turn.attachments,
        "tool_calls": turn.tool_calls,
        "tool_results": turn.tool_results,
    }


def _write(path: Path, transcript: dict[str, Any]) -> None:
    write_atomically(path, json_bytes(transcript))
