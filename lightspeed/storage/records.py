"""What is kept of a conversation, as plain values."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal

type TurnStatus = Literal["completed", "blocked", "failed", "interrupted"]


@dataclass(frozen=True, slots=True)
class TurnRecord:
    """One question and its answer.

    `conversation_id` is in its stored form (see `normalize_conversation_id`), and `request_id` is unique: what is
    recorded twice is kept once. The lists hold the wire shapes of the answer; `error` is `{"status_code", "response",
    "cause"}` of a failed Turn. Times know their zone.
    """

    conversation_id: str
    request_id: str
    user_id: str
    status: TurnStatus
    provider: str
    model: str
    query: str
    answer: str
    attachments: list[dict[str, Any]]
    tool_calls: list[dict[str, Any]]
    tool_results: list[dict[str, Any]]
    rag_chunks: list[dict[str, Any]]
    referenced_documents: list[dict[str, Any]]
    input_tokens: int
    output_tokens: int
    error: dict[str, Any] | None
    started_at: datetime
    completed_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredTurn(TurnRecord):
    """A Turn with its place in the conversation: 1, 2, 3 and so on, without gaps."""

    number: int


@dataclass(frozen=True, slots=True)
class Exchange:
    """What a model is told of an earlier turn."""

    query: str
    attachments: list[dict[str, Any]]
    answer: str


@dataclass(frozen=True, slots=True)
class Conversation:
    """A conversation without its turns. `message_count` counts turns; times are in UTC.

    The tokens are those that naming the conversation has cost.
    """

    id: str
    user_id: str
    created_at: datetime
    last_message_at: datetime
    message_count: int
    last_provider: str
    last_model: str
    topic_summary: str | None
    topic_input_tokens: int
    topic_output_tokens: int
