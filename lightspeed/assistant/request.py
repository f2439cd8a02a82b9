"""What is asked of a Turn."""

from dataclasses import dataclass, field

from lightspeed.retrieval.okp.request import PortalQuery
from lightspeed.telemetry.metrics import Face
from lightspeed.tools.caller import Caller


@dataclass(frozen=True, slots=True)
class Attachment:
    attachment_type: str
    content_type: str
    content: str


@dataclass(frozen=True, slots=True)
class TurnRequest:
    """One question of one user.

    `conversation_id` is in its canonical form; None starts a conversation. `stream` asks the provider for the answer
    piece by piece; without it one Token event holds all the text, unless quotas make it grow. `may_continue_others` lets the user go on with a
    conversation of someone else's; `generate_topic_summary` has a new conversation named. `caller` is whom tools act
    for; without it they have no credentials of this request.
    """

    request_id: str
    user_id: str
    query: str
    face: Face
    stream: bool
    conversation_id: str | None = None
    provider: str | None = None
    model: str | None = None
    system_prompt: str | None = None
    attachments: tuple[Attachment, ...] = ()
    no_tools: bool = False
    vector_store_ids: tuple[str, ...] | None = None
    portal: PortalQuery = field(default_factory=PortalQuery)
    may_continue_others: bool = False
    generate_topic_summary: bool = True
    caller: Caller | None = None


@dataclass(frozen=True, slots=True)
class ResumeRequest:
    """Goes on with a Turn that has waited for a person; the rest is as in TurnRequest."""

    request_id: str
    user_id: str
    face: Face
    stream: bool
    caller: Caller | None = None
