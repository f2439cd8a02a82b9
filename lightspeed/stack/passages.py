"""What a knowledge store holds and finds."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True)
class Passage:
    """A stored piece of a document. `score` lies between 0 and 1; the text that was asked for itself scores 1.

    Scores of one `scale` can be compared, also between stores. `id` names the piece in its store.
    """

    content: str
    score: float
    metadata: Mapping[str, Any]
    id: str = ""
    scale: str = ""


@dataclass(frozen=True, slots=True)
class NewPassage:
    """A piece of a document to be stored; metadata values are scalars and `document_id` is among them."""

    id: str
    content: str
    metadata: Mapping[str, str | int | float] = field(default_factory=dict)
    token_count: int | None = None


@dataclass(frozen=True, slots=True)
class EmbeddingModel:
    """`name` is the public name; `dimension` the length of its vectors."""

    name: str
    dimension: int


@dataclass(frozen=True, slots=True)
class ImportReport:
    """What was taken over from a database of another program; `problems` has a line for each of the first."""

    passages: int
    skipped: int
    problems: tuple[str, ...]
