"""Turns to store."""

from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from lightspeed.storage.identifiers import new_conversation_id
from lightspeed.storage.records import TurnRecord


def a_turn(**changes: Any) -> TurnRecord:
    turn = TurnRecord(
        conversation_id=new_conversation_id(),
        request_id="0c2e4b5a-0000-4000-8000-000000000000",
        user_id="alice",
        status="completed",
        provider="acme",
        model="m1",
        query="List nodes",
        answer="Two nodes",
        attachments=[{"attachment_type": "log", "content_type": "text/plain", "content": "line"}],
        tool_calls=[{"id": "c1", "name": "list_nodes", "args": {"zone": "a"}, "type": "mcp_call"}],
        tool_results=[{"id": "c1", "status": "success", "content": "n1", "type": "mcp_call", "round": 1}],
        rag_chunks=[{"content": "A node is", "source": "docs", "score": 0.5, "attributes": {}}],
        referenced_documents=[
            {"doc_url": "https://example.com/a", "doc_title": "A", "source": "docs", "document_id": None}
        ],
        input_tokens=40,
        output_tokens=3,
        error=None,
        started_at=datetime(2030, 1, 2, 3, 4, 5, tzinfo=UTC),
        completed_at=datetime(2030, 1, 2, 3, 4, 9, 123456, tzinfo=UTC),
    )
    return replace(turn, **changes)
