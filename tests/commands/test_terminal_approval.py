"""Asking in a terminal, which is a real one here."""

import io
import os
from collections.abc import Iterator
from datetime import UTC, datetime

import anyio
import pytest
from rich.console import Console

from lightspeed.assistant.events import WantedApproval
from lightspeed.commands.terminal_approval import TerminalApproval

pytestmark = pytest.mark.anyio

WANTED = WantedApproval("a-1", "ops", "wipe", {"host": "n1"}, datetime(2030, 1, 1, tzinfo=UTC))


@pytest.fixture
def keyboard(monkeypatch: pytest.MonkeyPatch) -> Iterator[int]:
    """What is written to this descriptor is typed."""
    master, terminal = os.openpty()
    with os.fdopen(terminal) as stdin:
        monkeypatch.setattr("sys.stdin", stdin)
        yield master
    os.close(master)


async def test_whoever_interrupts_the_question_is_not_waited_for(keyboard: int) -> None:
    person = TerminalApproval(Console(file=io.StringIO()))
    with anyio.move_on_after(0.2):
        await person.decide(WANTED)
    # Nobody is left that would take what is typed now.
    os.write(keyboard, b"y\n")
    with anyio.fail_after(10):
        assert await person.decide(WANTED) == (True, None)


async def test_a_call_is_denied_with_a_reason(keyboard: int) -> None:
    shown = io.StringIO()
    os.write(keyboard, b"perhaps\nn\nNot now.\n")
    with anyio.fail_after(10):
        assert await TerminalApproval(Console(file=shown)).decide(WANTED) == (False, "Not now.")
    assert shown.getvalue().count("Allow this call?") == 2
