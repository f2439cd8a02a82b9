"""A Turn as it is kept: conversation and transcript."""

from dataclasses import asdict, replace
from datetime import datetime
from typing import Any

from lightspeed.assistant.events import Ending, Failed, Interrupted, Usage
from lightspeed.assistant.generation import Generation
from lightspeed.assistant.request import TurnRequest
from lightspeed.retrieval.references import Chunk, ReferencedDocument
from lightspeed.stack.models import Model
from lightspeed.storage.records import TurnRecord, TurnStatus


def turn_record(
    request: TurnRequest,
    conversation_id: str,
    model: Model,
    generation: Generation,
    chunks: tuple[Chunk, ...],
    documents: tuple[ReferencedDocument, ...],
    usage: Usage,
    ending: Ending,
    started_at: datetime,
    completed_at: datetime,
) -> TurnRecord:
    return TurnRecord(
        conversation_id=conversation_id,
        request_id=request.request_id,
        user_id=request.user_id,
        status=_status(ending),
        provider=model.provider_id,
        model=model.name,
        query=request.query,
        answer=generation.text,
        attachments=[asdict(attachment) for attachment in request.attachments],
        tool_calls=[asdict(call) for call in generation.tool_calls],
        tool_results=[asdict(result) for result in generation.tool_results],
        rag_chunks=[chunk_fields(chunk) for chunk in chunks],
        referenced_documents=[asdict(document) for document in documents],
        input_tokens=usage.input_tokens,
        output_tokens=usage.output_tokens,
        error=_error(ending),
        started_at=started_at,
        completed_at=completed_at,
    )


def without_content(turn: TurnRecord) -> TurnRecord:
    """Who asked when, and at what cost, but not what was said."""
    return replace(
        turn,
        query="",
        answer="",
        attachments=[],
        tool_calls=[],
        tool_results=[],
        rag_chunks=[],
        referenced_documents=[],
        error=None,
    )


def chunk_fields(chunk: Chunk) -> dict[str, Any]:
    return {
        "content": chunk.content,
        "source": chunk.source,
        "score": chunk.score,
        "attributes": dict(chunk.attributes),
    }


def _status(ending: Ending) -> TurnStatus:
    if isinstance(ending, Failed):
        return "failed"
    return "interrupted" if isinstance(ending, Interrupted) else "completed"


def _error(ending: Ending) -> dict[str, Any] | None:
    if not isinstance(ending, Failed):
        return None
    error = ending.error
    return {"status_code": error.status, "response": error.response, "cause": error.cause}
