"""What is kept of a conversation, as plain values."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal

type TurnStatus = Literal["completed", "blocked", "failed", "interrupted"]


@dataclass(frozen=True, slots=True)
class TurnRecord:
    """One question and its answer.

    `conversation_id` is in its stored form (see `normalize_conversation_id`). The lists hold the wire
    shapes of the answer; `error` is `{"status_code", "response", "cause"}` of a failed Turn. Times know
    their zone. `topic_summary` names the conversation anew; None leaves its name alone.
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
    topic_summary: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredTurn(TurnRecord):
    """A Turn with its place in the conversation: 1, 2, 3 and so on, without gaps.

    A turn that was read back has no `topic_summary`: the conversation holds it.
    """

    number: int


@dataclass(frozen=True, slots=True)
class Conversation:
    """A conversation without its turns. `message_count` counts turns; times are in UTC."""

    id: str
    user_id: str
    created_at: datetime
    last_message_at: datetime
    message_count: int
    last_provider: str
    last_model: str
    topic_summary: str | None
