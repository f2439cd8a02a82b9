"""/v1/approvals: calls of tools that a person allows or not."""

from datetime import datetime
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, StrictBool

from lightspeed.api.conversation_history import stored_id
from lightspeed.api.endpoint import Call, Endpoint
from lightspeed.assistant.pauses import Pauses
from lightspeed.errors import BadRequest, Conflict, Gone, NotFound, StorageError
from lightspeed.identity.actions import Action
from lightspeed.storage.pause_records import Approval

_TAGS = ("approvals",)
_PATH = "/v1/approvals/{approval_id}"
_LONGEST_REASON = 4096  # characters


class ApprovalsQuery(BaseModel):
    conversation_id: str | None = Field(None, description="Only those of this conversation.")


class ApprovalModel(BaseModel):
    """A call of a tool that waits for you, or what you have decided. `request_id` names the turn that waits."""

    id: str
    request_id: str
    conversation_id: str
    server_label: str
    tool_name: str
    arguments: dict[str, Any]
    status: Literal["pending", "approved", "denied"]
    created_at: datetime
    expires_at: datetime
    decided_at: datetime | None = None
    reason: str | None = None


class ApprovalsResponse(BaseModel):
    approvals: list[ApprovalModel]


class DecisionRequest(BaseModel):
    """`reason` is told to the model and kept."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={"examples": [{"approve": False, "reason": "Not in working hours."}]},
    )

    approve: StrictBool
    reason: str | None = Field(None, max_length=_LONGEST_REASON)


class DecisionResponse(BaseModel):
    id: str
    status: Literal["approved", "denied"]
    decided_at: datetime


async def list_approvals(call: Call[None, ApprovalsQuery]) -> ApprovalsResponse:
    given = call.query.conversation_id
    conversation_id = None if given is None else stored_id(given)
    found = await _pauses(call).pending(call.principal.user_id, conversation_id)
    return ApprovalsResponse(approvals=[_shown(approval) for approval in found])


async def get_approval(call: Call) -> ApprovalModel:
    return _shown(await _pauses(call).approval(call.path["approval_id"], call.principal.user_id))


async def decide(call: Call[DecisionRequest]) -> DecisionResponse:
    body = call.body
    approval = await _pauses(call).decide(
        call.path["approval_id"], call.principal.user_id, approve=body.approve, reason=body.reason
    )
    return DecisionResponse.model_validate(
        {"id": approval.id, "status": approval.status, "decided_at": approval.decided_at}
    )


def _pauses(call: Call[Any, Any]) -> Pauses:
    pauses: Pauses = call.services.services.assistant.pauses
    return pauses


def _shown(approval: Approval) -> ApprovalModel:
    return ApprovalModel.model_validate(
        {
            "id": approval.id,
            "request_id": approval.request_id,
            "conversation_id": approval.conversation_id,
            "server_label": approval.server_label,
            "tool_name": approval.tool_name,
            "arguments": approval.arguments,
            "status": approval.status,
            "created_at": approval.created_at,
            "expires_at": approval.expires_at,
            "decided_at": approval.decided_at,
            "reason": approval.decision_reason,
        }
    )


ENDPOINTS = (
    Endpoint(
        "GET",
        "/v1/approvals",
        list_approvals,
        action=Action.LIST_APPROVALS,
        tags=_TAGS,
        summary="List the tool calls that wait for your approval",
        query=ApprovalsQuery,
        response=ApprovalsResponse,
        errors=(BadRequest, StorageError),
    ),
    Endpoint(
        "GET",
        _PATH,
        get_approval,
        action=Action.LIST_APPROVALS,
        tags=_TAGS,
        summary="Read an approval",
        response=ApprovalModel,
        errors=(NotFound, Gone, StorageError),
    ),
    Endpoint(
        "POST",
        _PATH,
        decide,
        action=Action.DECIDE_APPROVALS,
        tags=_TAGS,
        summary="Allow or deny a tool call",
        description="The turn goes on when it is resumed.",
        request=DecisionRequest,
        response=DecisionResponse,
        errors=(NotFound, Conflict, Gone, StorageError),
    ),
)
