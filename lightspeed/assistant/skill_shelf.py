"""What a Turn needs of agent skills."""

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol

from lightspeed.tools.tool import Tool

if TYPE_CHECKING:
    from lightspeed.storage.conversations import Conversations

ACTIVATE = "activate_skill"


class SkillShelf(Protocol):
    """The skills of the service. `active` are the names of those that the conversation has activated, in that order."""

    def prompt(self, active: Sequence[str]) -> str:
        """What the system prompt says of skills, and the content of the active ones; "" for nothing."""
        ...

    def tools(self, active: Sequence[str]) -> Sequence[Tool]: ...


async def active_skills(conversations: "Conversations", conversation_id: str) -> tuple[str, ...]:
    """The skills that earlier turns of a conversation have activated, each once."""
    found: dict[str, None] = {}
    for calls, results in await conversations.tool_uses(conversation_id, ACTIVATE):
        found |= dict.fromkeys(activated(calls, results))
    return tuple(found)


def activated(calls: Iterable[Mapping[str, Any]], results: Iterable[Mapping[str, Any]]) -> list[str]:
    """The skills that calls of one turn have activated, as its record holds them."""
    succeeded = {result.get("id") for result in results if result.get("status") == "success"}
    names = []
    for call in calls:
        args = call.get("args")
        name = args.get("name") if isinstance(args, dict) else None
        # A server may have a tool of the same name; those are of another type.
        own = call.get("name") == ACTIVATE and call.get("type") == "function_call"
        if own and isinstance(name, str) and call.get("id") in succeeded:
            names.append(name)
    return names
