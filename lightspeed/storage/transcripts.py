"""Turns as files, for those who study how the assistant is used."""

import hashlib
import logging
import uuid
from datetime import UTC
from pathlib import Path
from typing import Any

from anyio import to_thread

from lightspeed.errors import StorageError
from lightspeed.storage.encoding import json_bytes
from lightspeed.storage.files import write_atomically
from lightspeed.storage.identifiers import normalize_conversation_id
from lightspeed.storage.records import TurnRecord

logger = logging.getLogger(__name__)


class Transcripts:
    """Writes `<root>/<SHA-256 of the user id>/<conversation id>/<uuid4>.json`, one file a turn."""

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
        if normalize_conversation_id(turn.conversation_id) != turn.conversation_id:
            raise ValueError("not the stored form of a conversation id")
        user = hashlib.sha256(turn.user_id.encode("utf-8", "surrogatepass")).hexdigest()
        path = self._root / user / turn.conversation_id / f"{uuid.uuid4()}.json"
        metadata = {
            "provider": turn.provider,
            "model": turn.model,
            "query_provider": query_provider or turn.provider,
            "query_model": query_model or turn.model,
            "user_id": user,
            "conversation_id": turn.conversation_id,
            "timestamp": turn.completed_at.astimezone(UTC).isoformat(timespec="microseconds"),
        }
        try:
            await to_thread.run_sync(_write, path, _transcript(turn, metadata, truncated))
        except OSError as error:
            logger.error("A transcript cannot be stored: %s", error)
            raise StorageError("Failed to store transcript", response="Failed to store transcript") from None


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
