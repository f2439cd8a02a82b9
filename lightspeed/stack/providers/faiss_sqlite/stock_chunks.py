"""The chunks that Llama Stack's own `inline::faiss` has stored, as ours."""

import hashlib
from dataclasses import dataclass, field
from typing import Any

from pydantic_core import from_json

from lightspeed.stack.providers.faiss_sqlite.chunks import NewChunk
from lightspeed.stack.providers.faiss_sqlite.metadata import storable_integer, storable_name

_MOST_PROBLEMS = 100


@dataclass(slots=True)
class ReadingReport:
    """What became of the chunks: `mended` ones were read, too. `problems` has a line for each of the first 100."""

    read: int = 0
    mended: int = 0
    skipped: int = 0
    problems: list[str] = field(default_factory=list)

    def skip(self, problem: str) -> None:
        self.skipped += 1
        self._note(problem)

    def mend(self, problem: str) -> None:
        self.mended += 1
        self._note(problem)

    def _note(self, problem: str) -> None:
        if len(self.problems) < _MOST_PROBLEMS:
            self.problems.append(problem)


class StockChunks:
    """Parses the chunks of one store, and mends what can be mended."""

    def __init__(self, store: str, report: ReadingReport) -> None:
        self._store = store
        self._report = report
        self._ids: set[str] = set()

    def chunk(self, row: int, text: bytes) -> NewChunk | None:
        """`text` is a JSON string that holds JSON; None if there is no chunk in it."""
        try:
            stored = from_json(from_json(text))
        except ValueError as error:
            self._report.skip(f"chunk {row}: {error}")
            return None
        content = _text(stored.get("content")) if isinstance(stored, dict) else None
        if content is None:
            self._report.skip(f"chunk {row}: it has no text")
            return None
        own = self._object(row, stored, "metadata")
        more = self._object(row, stored, "chunk_metadata")
        tokens = more.get("content_token_count") or own.get("token_count")
        return NewChunk(
            id=self._id(row, content, stored.get("chunk_id") or more.get("chunk_id")),
            content=content,
            document_id=storable_name(own.get("document_id")) or storable_name(more.get("document_id")),
            file_id=storable_name(own.get("file_id")),
            metadata=own,
            token_count=storable_integer(tokens),
        )

    def _object(self, row: int, stored: dict[str, Any], key: str) -> dict[str, Any]:
        value = stored.get(key)
        if isinstance(value, dict):
            return value
        self._report.mend(f"chunk {row}: it has no {key}")
        return {}

    def _id(self, row: int, content: str, stored: Any) -> str:
        """The stored id, or one made of the content; a second chunk with the same id gets its row number."""
        name = storable_name(stored)
        if name is None:
            name = hashlib.sha256(f"{self._store}:{row}:{content}".encode(errors="replace")).hexdigest()[:32]
            self._report.mend(f"chunk {row}: it has no chunk_id")
        elif name in self._ids:
            self._report.mend(f"chunk {row}: another chunk has the chunk_id {name}")
            name = f"{name}-{row}"
        self._ids.add(name)
        return name


def _text(content: Any) -> str | None:
    """The text of a content, which may be a list of parts."""
    if isinstance(content, str):
        return content
    parts = content if isinstance(content, list) else [content]
    texts = [part["text"] for part in parts if isinstance(part, dict) and isinstance(part.get("text"), str)]
    return "\n".join(texts) or None
