"""The knowledge search as a tool of the model."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

from lightspeed.assistant.prompt import passages
from lightspeed.retrieval.okp.request import PortalQuery
from lightspeed.retrieval.references import Chunk
from lightspeed.retrieval.search import KnowledgeSearch
from lightspeed.tools.tool import ToolOutcome


class KnowledgeTool:
    """Searches the given stores and remembers what it found, for the answer's references."""

    name = "file_search"
    type = "file_search_call"
    server_label: str | None = None
    needs_approval = False

    def __init__(self, search: KnowledgeSearch, stores: Sequence[str], portal: PortalQuery) -> None:
        """`portal` is what the request asks of the Offline Knowledge Portal."""
        self._search = search
        self.stores = stores
        self._portal = portal
        self.found: list[Chunk] = []

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
        chunks = await self._search.for_tool(_query(arguments), self.stores, self._portal)
        self.found.extend(chunks)
        results = [
            {
                "file_id": chunk.attributes.get("document_id", ""),
                "filename": chunk.attributes.get("title", ""),
                "score": chunk.score,
                "text": chunk.content,
                "attributes": dict(chunk.attributes),
            }
            for chunk in chunks
        ]
        return ToolOutcome(
            "completed",
            json.dumps({"results": results}) if results else "",
            passages(chunks) if chunks else "Nothing was found.",
        )


def _query(arguments: Mapping[str, Any]) -> str:
    for key in ("query", "queries", "args"):
        value = arguments.get(key)
        if isinstance(value, list):
            value = " ".join(str(item) for item in value)
        if value:
            return str(value)
    return ""
