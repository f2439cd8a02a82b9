"""The knowledge search as a tool of the model."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

from anyio import Lock

from lightspeed.retrieval.okp.request import PortalQuery
from lightspeed.retrieval.reading import passage_tokens, passages_text
from lightspeed.retrieval.references import Chunk
from lightspeed.retrieval.search import KnowledgeSearch
from lightspeed.tools.tool import ToolOutcome

_CALL_OVERHEAD = 64  # tokens of a call and of what a chat template puts around its result
_SMALLEST_ROOM = 100  # tokens; in less there is little more than the title of a passage
_NO_ROOM = "There is no room for more passages: answer with what has been found."


class KnowledgeTool:
    """Searches the given stores and remembers what it found, for the answer's references.

    `room` is what the model's context window still has for it, in tokens; None if that is not known.
    """

    name = "file_search"
    type = "file_search_call"
    server_label: str | None = None
    needs_approval = False

    def __init__(
        self,
        search: KnowledgeSearch,
        stores: Sequence[str],
        portal: PortalQuery,
        room: int | None = None,
    ) -> None:
        """`portal` is what the request asks of the Offline Knowledge Portal."""
        self._search = search
        self.stores = stores
        self._portal = portal
        self.room = room
        self.found: list[Chunk] = []
        self._one_at_a_time = Lock()

    @property
    def definition(self) -> Mapping[str, Any]:
        return {
            "type": "function",
            "function": {
                "name": self.name,
                "description": "Search the product's documentation for passages that help to answer.",
                "parameters": {
                    "type": "object",
                    "properties": {
                        "query": {"type": "string", "description": "What to look for, in plain words."}
                    },
                    "required": ["query"],
                },
            },
        }

    def shown_arguments(self, arguments: Mapping[str, Any]) -> dict[str, Any]:
        return {"queries": [_query(arguments)]}

    async def call(self, arguments: Mapping[str, Any]) -> ToolOutcome:
        # What one call leaves of the room is what the next one has.
        async with self._one_at_a_time:
            self._take(_CALL_OVERHEAD)
            if self.room is not None and self.room < _SMALLEST_ROOM:
                return ToolOutcome("completed", "", _NO_ROOM)
            chunks = await self._search.for_tool(_query(arguments), self.stores, self._portal, room=self.room)
            self._take(sum(map(passage_tokens, chunks)))
        self.found.extend(chunks)
        results = [
            {
                "file_id": _first(chunk.attributes, "file_id", "document_id"),
                "filename": _first(chunk.attributes, "filename", "title"),
                "score": chunk.score,
                "text": chunk.content,
                "attributes": dict(chunk.attributes),
            }
            for chunk in chunks
        ]
        return ToolOutcome(
            "completed",
            json.dumps({"results": results}) if results else "",
            passages_text(chunks) if chunks else "Nothing was found.",
        )

    def _take(self, tokens: int) -> None:
        if self.room is not None:
            self.room = max(0, self.room - tokens)


def _first(attributes: Mapping[str, Any], *keys: str) -> str:
    return next((str(attributes[key]) for key in keys if attributes.get(key)), "")


def _query(arguments: Mapping[str, Any]) -> str:
    for key in ("query", "queries", "args"):
        value = arguments.get(key)
        if isinstance(value, list):
            value = " ".join(str(item) for item in value)
        if value:
            return str(value)
    return ""
