"""Asking in the terminal whether a tool may be called."""

import io
import json
import sys

import anyio
from anyio import to_thread
from rich.console import Console
from rich.text import Text

from lightspeed.assistant.events import WantedApproval

NOBODY_THERE = "Nobody could be asked."
_ANSWERS = {"y": True, "yes": True, "n": False, "no": False, "": False}


class TerminalApproval:
    """Asks whoever sits at standard input; where nobody does, nothing is allowed."""

    def __init__(self, notes: Console) -> None:
        self._notes = notes

    async def decide(self, approval: WantedApproval) -> tuple[bool, str | None]:
        """Whether the call is allowed, and the reason if it is not."""
        self._notes.print(Text(_shown(approval), style="bold"))
        if not sys.stdin.isatty():
            self._notes.print(
                Text("lightspeed: the call is denied, because nobody can be asked here", style="red")
            )
            return False, NOBODY_THERE
        try:
            while (answer := (await self._answer("Allow this call? [y/n] (n): ")).lower()) not in _ANSWERS:
                self._notes.print(Text("Please enter y or n", style="red"))
            return (True, None) if _ANSWERS[answer] else (False, await self._answer("Reason: ") or None)
        except EOFError:
            return False, None

    async def _answer(self, question: str) -> str:
        """One line that somebody types. Raises EOFError at the end of input."""
        self._notes.print(Text(question, style="magenta"), end="")
        await _typed()
        line: str = await to_thread.run_sync(sys.stdin.readline)
        if not line:
            raise EOFError
        return line.strip()


async def _typed() -> None:
    """Until there is a line to read. A thread that waits for one could not be left when somebody interrupts."""
    try:
        descriptor = sys.stdin.fileno()
    except io.UnsupportedOperation:
        return
    await anyio.wait_readable(descriptor)


def _shown(approval: WantedApproval) -> str:
    """In ASCII: what a model has written must not move the cursor."""
    arguments = json.dumps(approval.arguments)
    name, server = json.dumps(approval.tool_name), json.dumps(approval.server_label)
    return f"The tool {name} of {server} wants to be called with {arguments}"
