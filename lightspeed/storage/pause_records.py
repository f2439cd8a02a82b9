"""What is kept of a turn that waits for a person, and of what the person decides."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal

type ApprovalStatus = Literal["pending", "approved", "denied", "expired"]


@dataclass(frozen=True, slots=True)
class Approval:
    """One call that waits for a decision, or had one. `arguments` are as clients see them."""

    id: str
    request_id: str
    conversation_id: str
    user_id: str
    server_label: str
    tool_name: str
    arguments: dict[str, Any]
    status: ApprovalStatus
    created_at: datetime
    expires_at: datetime
    decision_reason: str | None = None
    decided_at: datetime | None = None

    def has_expired(self, now: datetime) -> bool:
        """Whether nobody has decided in time."""
        return self.status == "expired" or (self.status == "pending" and self.expires_at <= now)


@dataclass(frozen=True, slots=True)
class PausedTurn:
    """`state` is what the turn needs to go on, as JSON. `resumed_by` names who goes on with it, `resumed_until` how long."""

    request_id: str
    conversation_id: str
    user_id: str
    state: dict[str, Any]
    created_at: datetime
    expires_at: datetime
    resumed_by: str | None = None
    resumed_until: datetime | None = None

    def is_running(self, now: datetime) -> bool:
        """Whether somebody goes on with it at this moment."""
        return self.resumed_until is not None and self.resumed_until > now
