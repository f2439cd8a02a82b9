"""A tool that reads skills."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from lightspeed.tools.tool import ToolOutcome


@dataclass(frozen=True, slots=True)
class SkillTool:
    """`parameters` are JSON schemas by name, all of them required; `answer` takes their values, which are text.

    A call without one of them, or with something else than text, is a failure that names it.
    """

    name: str
    description: str
    parameters: Mapping[str, Mapping[str, Any]]
    answer: Callable[..., Awaitable[ToolOutcome]]
    failed: Callable[[str], ToolOutcome]
    type: str = "function_call"
    server_label: str | None = None
    needs_approval: bool = False

    @property
    def definition(self) -> Mapping[str, Any]:
        return {
            "type": "function",
            "function": {
                "name": self.name,
                "description": self.description,
                "parameters": {
                    "type": "object",
                    "properties": dict(self.parameters),
                    "required": list(self.parameters),
                },
            },
        }

    def shown_arguments(self, arguments: Mapping[str, Any]) -> dict[str, Any]:
        return dict(arguments)

    async def call(self, arguments: Mapping[str, Any]) -> ToolOutcome:
        values: Sequence[Any] = [arguments.get(name) for name in self.parameters]
        for name, value in zip(self.parameters, values, strict=True):
            if not isinstance(value, str):
                return self.failed(f"The argument `{name}` is required and must be text.")
        return await self.answer(*values)
