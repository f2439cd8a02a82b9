"""What a Turn tells while it runs. The events of one Turn end with Completed, Failed or Interrupted."""

from dataclasses import dataclass
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
    """The model has accepted the question. What fails before this event is an error, not a stream."""

    conversation_id: str
    request_id: str
    provider: str
    model: str
    started_at: datetime


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
    """`status` is `success` or `failure`; `round` counts from 1."""

    id: str
    status: str
    content: str
    type: str
    round: int


@dataclass(frozen=True, slots=True)
class Completed:
    """The Turn has ended and is recorded. `text` is the whole answer."""

    text: str
    usage: Usage
    chunks: tuple[Chunk, ...]
    documents: tuple[ReferencedDocument, ...]
    truncated: bool
    completed_at: datetime


@dataclass(frozen=True, slots=True)
class Failed:
    error: RequestError


@dataclass(frozen=True, slots=True)
class Interrupted:
    request_id: str
    text: str
    usage: Usage


type Event = Started | Token | ToolCall | ToolResult | Completed | Failed | Interrupted
type Ending = Completed | Failed | Interrupted
