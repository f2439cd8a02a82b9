"""What users think of answers, as files."""

import logging
import uuid
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from anyio import to_thread

from lightspeed.errors import StorageError
from lightspeed.storage.encoding import json_bytes
from lightspeed.storage.files import write_atomically

logger = logging.getLogger(__name__)

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
        try:
            await to_thread.run_sync(write_atomically, path, json_bytes(feedback))
        except OSError as error:
            logger.error("A feedback cannot be stored: %s", error)
            raise StorageError(
                f"Failed to store feedback at directory: {self._root}", response="Failed to store feedback"
            ) from None
