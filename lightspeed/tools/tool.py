"""What a tool of the model is."""

import json
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
    clients see. `server_label` names the MCP server of the tool, and is None for the service's own tools. A tool
    that clients know by another name than the model has that one in `shown_name`; see the function of that name.
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


def shown_name(tool: Tool) -> str:
    """The name of a tool as clients see it: its server's own, which need not be unique."""
    return str(getattr(tool, "shown_name", tool.name))


@dataclass(frozen=True, slots=True)
class ListedTool:
    """A tool as its server lists it. `input_schema` is the JSON schema of an object."""

    name: str
    description: str
    input_schema: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class ToolListing:
    """What one MCP server lists, in its own order and under its own names: the item `mcp_list_tools` of a turn."""

    server_label: str
    tools: Sequence[ListedTool]

    @property
    def content(self) -> str:
        """The text of the item's result."""
        tools = [
            {"name": tool.name, "description": tool.description, "input_schema": dict(tool.input_schema)}
            for tool in self.tools
        ]
        return json.dumps({"server_label": self.server_label, "tools": tools}, ensure_ascii=False)


@dataclass(frozen=True, slots=True)
class ToolTrouble:
    """Why the tools of a server are missing from a turn; `message` is for people and holds no secret."""

    server_label: str
    kind: Literal["unreachable", "unauthorized", "unresolved"]
    message: str


@dataclass(frozen=True, slots=True)
class Offer:
    """Tools for one turn, what is missing, and what each MCP server has listed."""

    tools: Sequence[Tool] = ()
    troubles: Sequence[ToolTrouble] = ()
    listings: Sequence[ToolListing] = ()


class ToolSource(Protocol):
    """Where tools come from."""

    async def offered(self, caller: Caller) -> Offer:
        """The tools that this caller may use now. Raises Unauthorized where a server wants the caller to log in."""
        ...
