"""Calls of tools: what the model has asked for, and what has become of it."""

import asyncio
import logging
import time
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import uuid4

from lightspeed.assistant.events import ToolCall, ToolResult
from lightspeed.errors import LightspeedError
from lightspeed.telemetry.round_spans import RoundSpans
from lightspeed.tools.arguments import parse_arguments
from lightspeed.tools.tool import Tool, ToolOutcome, shown_name

logger = logging.getLogger(__name__)

_AT_ONCE = 16  # whatever a model writes

APPROVAL_REQUEST = "mcp_approval_request"
APPROVAL_RESPONSE = "mcp_approval_response"


@dataclass(slots=True, eq=False)
class RoundCall:
    """A call of one round. `arguments` are as the model has written them; `outcome` is None until there is one.

    `approval_id` is set where a person must allow it; `server_label` and `tool_name` then say what is allowed.
    `approved` is None until somebody has decided; `begun` says that the tool may have run.
    """

    id: str
    name: str
    arguments: str
    outcome: ToolOutcome | None = None
    approval_id: str = ""
    server_label: str = ""
    tool_name: str = ""
    approved: bool | None = None
    reason: str | None = None
    begun: bool = False


class Toolbox:
    """The tools of one turn, ready to be called. A call never raises: what fails is an outcome, too."""

    def __init__(
        self, tools: Sequence[Tool], spans: RoundSpans, tool_called: Callable[[str, str, float], None]
    ) -> None:
        """`tool_called` hears of each call: type, status, and how many seconds it took."""
        self._tools = {tool.name: tool for tool in tools}
        self._spans = spans
        self._tool_called = tool_called

    @property
    def definitions(self) -> list[Mapping[str, Any]]:
        return [tool.definition for tool in self._tools.values()]

    def ask_for(self, call: RoundCall) -> bool:
        """Whether a person must allow a call; it then gets the id of its approval."""
        tool = self._tools.get(call.name)
        if tool is None or not tool.needs_approval:
            return False
        call.approval_id = f"approval_{uuid4().hex}"
        call.server_label, call.tool_name = tool.server_label or "", shown_name(tool)
        return True

    def told(self, call: RoundCall) -> ToolCall:
        """A call as clients see it."""
        tool = self._tool(call)
        name = shown_name(tool) if tool else call.tool_name or call.name
        return ToolCall(call.id, name, self.shown_arguments(call), self._type(call))

    def shown_arguments(self, call: RoundCall) -> dict[str, Any]:
        arguments, tool = parse_arguments(call.arguments), self._tool(call)
        if tool is not None:
            return tool.shown_arguments(arguments)
        return arguments | {"server_label": call.server_label} if call.server_label else arguments

    def result(self, call: RoundCall, outcome: ToolOutcome, round_number: int) -> ToolResult:
        """What came of a call as clients see it."""
        kind = self._type(call)
        shown = "function_call_output" if kind == "function_call" else kind
        return ToolResult(call.id, outcome.status, outcome.content, shown, round_number)

    async def run(self, calls: Sequence[RoundCall]) -> AsyncGenerator[tuple[RoundCall, ToolOutcome]]:
        """All calls at the same time, or of very many some, each with its outcome as soon as it has one.

        Closing this stops the tools.
        """
        slots = asyncio.Semaphore(_AT_ONCE)
        tasks = {asyncio.ensure_future(self._timed_outcome(call, slots)): call for call in calls}
        try:
            pending = set(tasks)
            while pending:
                done, pending = await asyncio.wait(pending, return_when=asyncio.FIRST_COMPLETED)
                for task in done:
                    tasks[task].outcome = task.result()
                    yield tasks[task], task.result()
        finally:
            for task in tasks:
                task.cancel()

    async def _timed_outcome(self, call: RoundCall, slots: asyncio.Semaphore) -> ToolOutcome:
        async with slots:
            clock = time.perf_counter()
            with self._spans.tool(call.name, call.id, (call.arguments,)) as span:
                outcome = await self._outcome(call)
                self._spans.tool_answered(span, outcome.status, outcome.for_model)
            self._tool_called(self._type(call), outcome.status, time.perf_counter() - clock)
        return outcome

    async def _outcome(self, call: RoundCall) -> ToolOutcome:
        tool = self._tool(call)
        if tool is None and call.approval_id:
            return failure(f"The tool {call.tool_name!r} of {call.server_label} is not available now.")
        if tool is None:
            return failure(f"There is no tool named {call.name!r}.")
        try:
            return await tool.call(parse_arguments(call.arguments))
        except LightspeedError as error:
            return failure(str(error))
        except Exception:
            logger.exception("Tool %s failed", call.name)
            return failure(f"The tool {call.name!r} failed.")

    def _tool(self, call: RoundCall) -> Tool | None:
        if not call.approval_id:
            return self._tools.get(call.name)
        # What was allowed is a tool of that server, whatever its name in this turn has become meanwhile.
        allowed = (call.server_label, call.tool_name)
        return next(
            (tool for tool in self._tools.values() if (tool.server_label or "", shown_name(tool)) == allowed),
            None,
        )

    def _type(self, call: RoundCall) -> str:
        tool = self._tool(call)
        if tool is not None:
            return tool.type
        return "mcp_call" if call.server_label else "function_call"


def failure(text: str) -> ToolOutcome:
    """What the client reads, and the model as an error."""
    return ToolOutcome("failure", text, f"Error: {text}")


def denial(call: RoundCall) -> ToolOutcome:
    """What the model reads of a call that a person has not allowed."""
    reason = f" The reason given: {call.reason}" if call.reason else ""
    text = f"The user has not allowed the call of {call.tool_name!r}, and it was not made.{reason}"
    return ToolOutcome("denied", text, f"{text}\nDo not call it again unless the user asks for it.")


def of_unknown_outcome(call: RoundCall) -> ToolOutcome:
    """What is told of a call in whose midst the service has ended."""
    return failure(
        f"The service stopped while {call.tool_name!r} was called. It is not known whether the call has had an effect."
    )
