"""What a tool of the model is."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol


@dataclass(frozen=True, slots=True)
class ToolOutcome:
    """`content` is for the client, `for_model` what the model reads; `status` is `success`, `failure` or `completed`."""

    status: str
    content: str
    for_model: str


class Tool(Protocol):
    """Something that the model may call.

    `definition` is an OpenAI function tool, `type` the item type that clients see.
    """

    @property
    def name(self) -> str: ...
    @property
    def type(self) -> str: ...
    @property
    def definition(self) -> Mapping[str, Any]: ...

    def shown_arguments(self, arguments: Mapping[str, Any]) -> dict[str, Any]:
        """The arguments as clients see them."""
        ...

    async def call(self, arguments: Mapping[str, Any]) -> ToolOutcome: ...
