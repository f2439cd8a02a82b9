"""A Turn that waits for a person, as it is kept: JSON from which any process can go on."""

from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any

from lightspeed.assistant.events import ToolCall, ToolResult, Usage
from lightspeed.assistant.generation import Earlier, Generation
from lightspeed.assistant.planning import Plan
from lightspeed.assistant.record import chunk_fields
from lightspeed.assistant.request import Attachment, TurnRequest
from lightspeed.assistant.skill_shelf import activated
from lightspeed.assistant.tool_calls import RoundCall
from lightspeed.errors import RequestError
from lightspeed.retrieval.okp.request import PortalQuery
from lightspeed.retrieval.references import Chunk, referenced_documents
from lightspeed.stack.models import Model
from lightspeed.storage.records import TurnRecord
from lightspeed.telemetry.metrics import Face
from lightspeed.tools.tool import ToolOutcome

_VERSION = 1


class UnreadableState(Exception):
    """It was written by another version of the service."""


@dataclass(frozen=True, slots=True)
class PausedState:
    """What was asked, decided and made until the pause.

    `stores` are those that the knowledge tool searches, `room` is what its results may still have, in tokens.
    `room_is_known` is False if an earlier version has written the state, which did not keep it.
    """

    query: str
    attachments: tuple[Attachment, ...]
    portal: PortalQuery
    wants_name: bool
    face: Face
    conversation_id: str
    begins: bool
    truncated: bool
    model: Model
    stores: tuple[str, ...]
    skills: tuple[str, ...]
    chunks: tuple[Chunk, ...]
    messages: list[dict[str, Any]]
    earlier: Earlier
    usage: Usage
    started_at: datetime
    room: int | None = None
    room_is_known: bool = True

    @classmethod
    def of(
        cls,
        request: TurnRequest,
        plan: Plan,
        generation: Generation,
        chunks: tuple[Chunk, ...],
        usage: Usage,
        started_at: datetime,
    ) -> "PausedState":
        """`chunks` and `usage` are those of the whole turn so far."""
        return cls(
            query=request.query,
            attachments=request.attachments,
            portal=request.portal,
            wants_name=request.generate_topic_summary,
            face=request.face,
            conversation_id=plan.conversation_id,
            begins=plan.begins,
            truncated=plan.truncated,
            model=plan.model,
            stores=plan.stores,
            skills=tuple(dict.fromkeys((*plan.skills, *_activated(generation)))),
            chunks=chunks,
            messages=[dict(message) for message in generation.messages],
            earlier=Earlier(
                generation.text,
                tuple(generation.tool_calls),
                tuple(generation.tool_results),
                generation.round,
                tuple(generation.calls),
            ),
            usage=usage,
            started_at=started_at,
            room=plan.knowledge_tool.room if plan.knowledge_tool else None,
        )

    def json(self) -> dict[str, Any]:
        model, portal, earlier = self.model, self.portal, self.earlier
        return {
            "version": _VERSION,
            "query": self.query,
            "attachments": [asdict(attachment) for attachment in self.attachments],
            "portal": {
                "mode": portal.mode,
                "filters": None if portal.filters is None else dict(portal.filters),
                "solr": dict(portal.solr),
                "legacy": portal.legacy,
            },
            "wants_name": self.wants_name,
            "face": self.face.value,
            "conversation_id": self.conversation_id,
            "begins": self.begins,
            "truncated": self.truncated,
            "model": {
                "identifier": model.identifier,
                "provider_id": model.provider_id,
                "provider_resource_id": model.provider_resource_id,
                "model_type": model.model_type,
            },
            "stores": list(self.stores),
            "skills": list(self.skills),
            "chunks": [chunk_fields(chunk) for chunk in self.chunks],
            "messages": self.messages,
            "text": earlier.text,
            "tool_calls": [asdict(call) for call in earlier.tool_calls],
            "tool_results": [asdict(result) for result in earlier.tool_results],
            "round": earlier.round,
            "calls": [asdict(call) for call in earlier.calls],
            "usage": asdict(self.usage),
            "started_at": self.started_at.isoformat(),
            "room": self.room,
        }

    @classmethod
    def read(cls, kept: dict[str, Any]) -> "PausedState":
        """Raises UnreadableState."""
        try:
            if kept["version"] != _VERSION:
                raise UnreadableState
            return cls(
                query=kept["query"],
                attachments=tuple(Attachment(**item) for item in kept["attachments"]),
                portal=PortalQuery(**kept["portal"]),
                wants_name=kept["wants_name"],
                face=Face(kept["face"]),
                conversation_id=kept["conversation_id"],
                begins=kept["begins"],
                truncated=kept["truncated"],
                model=Model(**kept["model"]),
                stores=tuple(kept["stores"]),
                skills=tuple(kept["skills"]),
                chunks=tuple(Chunk(**item) for item in kept["chunks"]),
                messages=kept["messages"],
                earlier=Earlier(
                    kept["text"],
                    tuple(ToolCall(**item) for item in kept["tool_calls"]),
                    tuple(ToolResult(**item) for item in kept["tool_results"]),
                    kept["round"],
                    tuple(_round_call(item) for item in kept["calls"]),
                ),
                usage=Usage(**kept["usage"]),
                started_at=datetime.fromisoformat(kept["started_at"]),
                room=kept.get("room"),
                room_is_known="room" in kept,
            )
        except (KeyError, TypeError, ValueError) as error:
            raise UnreadableState from error

    def failed(
        self, request_id: str, user_id: str, error: RequestError, completed_at: datetime
    ) -> TurnRecord:
        """The record of a turn with which nobody goes on."""
        earlier = self.earlier
        return TurnRecord(
            conversation_id=self.conversation_id,
            request_id=request_id,
            user_id=user_id,
            status="failed",
            provider=self.model.provider_id,
            model=self.model.name,
            query=self.query,
            answer=earlier.text,
            attachments=[asdict(attachment) for attachment in self.attachments],
            tool_calls=[asdict(call) for call in earlier.tool_calls],
            tool_results=[asdict(result) for result in earlier.tool_results],
            rag_chunks=[chunk_fields(chunk) for chunk in self.chunks],
            referenced_documents=[asdict(document) for document in referenced_documents(self.chunks)],
            input_tokens=self.usage.input_tokens,
            output_tokens=self.usage.output_tokens,
            error={"status_code": error.status, "response": error.response, "cause": error.cause},
            started_at=self.started_at,
            completed_at=completed_at,
        )


def _activated(generation: Generation) -> list[str]:
    return activated(map(asdict, generation.tool_calls), map(asdict, generation.tool_results))


def _round_call(item: dict[str, Any]) -> RoundCall:
    outcome = item.pop("outcome")
    return RoundCall(**item, outcome=ToolOutcome(**outcome) if outcome else None)
