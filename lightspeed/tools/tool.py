"""What a tool of the model is."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol

from lightspeed.tools.caller import Caller


@dataclass(frozen=True, slots=True)
class ToolOutcome:
    """`content` is for the client, `for_model` what the model reads; `status` is `success`, `failure` or `completed`."""

    status: str
    content: str
    for_model: str


class Tool(Protocol):
    """Something that the model may call.

    `name` is unique in a turn; `definition` is an OpenAI function tool of that name, `type` the item type that
    clients see. `server_label` names the MCP server of the tool, and is None for the service's own tools.
    """

    @property
    def name(self) -> str: ...
    @property
    def server_label(self) -> str | None: ...
    @property
    def needs_approval(self) -> bool:
        """Whether a person must allow each call."""
        ...

    @property
    def type(self) -> str: ...
    @property
    def definition(self) -> Mapping[str, Any]: ...

    def shown_arguments(self, arguments: Mapping[str, Any]) -> dict[str, Any]:
        """The arguments as clients see them."""
        ...

    async def call(self, arguments: Mapping[str, Any]) -> ToolOutcome: ...


@dataclass(frozen=True, slots=True)
class ToolTrouble:
    """Why the tools of a server are missing from a turn; `message` is for people and holds no secret."""

    server_label: str
    kind: Literal["unreachable", "unauthorized", "unresolved"]
    message: str


@dataclass(frozen=True, slots=True)
class Offer:
    """Tools for one turn, and what is missing."""

    tools: Sequence[Tool] = ()
    troubles: Sequence[ToolTrouble] = ()


class ToolSource(Protocol):
    """Where tools come from."""

    async def offered(self, caller: Caller) -> Offer:
        """The tools that this caller may use now. Raises Unauthorized where a server wants the caller to log in."""
        ...
