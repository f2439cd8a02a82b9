"""Asking in the terminal whether a tool may be called."""

import json
import sys

from anyio import to_thread
from rich.console import Console
from rich.prompt import Confirm, Prompt
from rich.text import Text

from lightspeed.assistant.events import WantedApproval

NOBODY_THERE = "Nobody could be asked."


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
        return await to_thread.run_sync(self._ask, abandon_on_cancel=True)

    def _ask(self) -> tuple[bool, str | None]:
        try:
            if Confirm.ask("Allow this call?", console=self._notes, default=False):
                return True, None
            reason = Prompt.ask("Reason", console=self._notes, default="", show_default=False)
        except EOFError:
            return False, None
        return False, reason.strip() or None


def _shown(approval: WantedApproval) -> str:
    """In ASCII: what a model has written must not move the cursor."""
    arguments = json.dumps(approval.arguments)
    name, server = json.dumps(approval.tool_name), json.dumps(approval.server_label)
    return f"The tool {name} of {server} wants to be called with {arguments}"
