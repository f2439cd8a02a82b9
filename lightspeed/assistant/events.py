"""What a Turn tells while it runs.

The events of one Turn end with Completed, Failed, Interrupted or ApprovalRequired.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from lightspeed.errors import RequestError
from lightspeed.retrieval.references import Chunk, ReferencedDocument


@dataclass(frozen=True, slots=True)
class Usage:
    """Tokens, summed over all calls of the model in one Turn."""

    input_tokens: int = 0
    output_tokens: int = 0

    def __add__(self, other: "Usage") -> "Usage":
        return Usage(self.input_tokens + other.input_tokens, self.output_tokens + other.output_tokens)


@dataclass(frozen=True, slots=True)
class Started:
    """The model has accepted the question. What fails before this event is an error, not a stream.

    A Turn that has waited for a person starts again; `told` are the calls and results of before.
    """

    conversation_id: str
    request_id: str
    provider: str
    model: str
    started_at: datetime
    told: "tuple[ToolCall | ToolResult, ...]" = ()


@dataclass(frozen=True, slots=True)
class ToolsMissing:
    """The tools of a server are missing from this Turn; `message` is for people.

    `kind` is `unreachable`, `unauthorized` or `unresolved`.
    """

    server_label: str
    kind: str
    message: str


@dataclass(frozen=True, slots=True)
class Token:
    """A piece of the answer's text, as the model makes it."""

    text: str


@dataclass(frozen=True, slots=True)
class ToolCall:
    id: str
    name: str
    args: dict[str, Any]
    type: str


@dataclass(frozen=True, slots=True)
class ToolResult:
    """`status` is `success`, `failure`, `completed` or `denied`; `round` counts from 1."""

    id: str
    status: str
    content: str
    type: str
    round: int


@dataclass(frozen=True, slots=True)
class Completed:
    """The Turn has ended and is recorded. `text` is the whole answer.

    `available_quotas` says how many tokens are left, by limiter.
    """

    text: str
    usage: Usage
    chunks: tuple[Chunk, ...]
    documents: tuple[ReferencedDocument, ...]
    truncated: bool
    completed_at: datetime
    available_quotas: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Failed:
    error: RequestError


@dataclass(frozen=True, slots=True)
class Interrupted:
    request_id: str
    text: str
    usage: Usage


@dataclass(frozen=True, slots=True)
class WantedApproval:
    """A call of a tool that waits for a person; `id` is that of the approval."""

    id: str
    server_label: str
    tool_name: str
    arguments: dict[str, Any]
    expires_at: datetime


@dataclass(frozen=True, slots=True)
class ApprovalRequired:
    """The Turn waits for a person, in the database. It goes on where it is resumed; `usage` is what it has cost so far."""

    request_id: str
    approvals: tuple[WantedApproval, ...]
    usage: Usage


type Ending = Completed | Failed | Interrupted | ApprovalRequired
type Event = Started | ToolsMissing | Token | ToolCall | ToolResult | Ending
