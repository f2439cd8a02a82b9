"""Tools that do what a test says, and sources that offer them."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from lightspeed.tools.caller import Caller
from lightspeed.tools.tool import Offer, Tool, ToolListing, ToolOutcome, ToolTrouble


async def _done(arguments: Mapping[str, Any]) -> str:
    return f"done with {dict(arguments)}"


@dataclass
class ScriptedTool:
    """`work` makes the result, or raises; `calls` are the arguments of all calls."""

    name: str
    server_label: str | None = "ops"
    needs_approval: bool = False
    work: Callable[[Mapping[str, Any]], Awaitable[str]] = _done
    type: str = "mcp_call"
    shown_name: str = ""
    calls: list[dict[str, Any]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.shown_name = self.shown_name or self.name

    @property
    def definition(self) -> Mapping[str, Any]:
        parameters = {"type": "object", "properties": {"host": {"type": "string"}}}
        return {"type": "function", "function": {"name": self.name, "parameters": parameters}}

    def shown_arguments(self, arguments: Mapping[str, Any]) -> dict[str, Any]:
        return {**arguments, "server_label": self.server_label}

    async def call(self, arguments: Mapping[str, Any]) -> ToolOutcome:
        self.calls.append(dict(arguments))
        text = await self.work(arguments)
        return ToolOutcome("success", text, text)


@dataclass
class ScriptedSource:
    """`prepare` runs while it is asked; `callers` are those that it was asked for."""

    tools: Sequence[Tool] = ()
    troubles: Sequence[ToolTrouble] = ()
    listings: Sequence[ToolListing] = ()
    prepare: Callable[[], Awaitable[None]] | None = None
    callers: list[Caller] = field(default_factory=list)

    async def offered(self, caller: Caller) -> Offer:
        self.callers.append(caller)
        if self.prepare is not None:
            await self.prepare()
        return Offer(self.tools, self.troubles, self.listings)
