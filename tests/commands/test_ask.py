"""`lightspeed ask` where a tool call needs somebody's permission."""

import io
from collections.abc import AsyncIterator
from pathlib import Path
from uuid import uuid4

import pytest
from rich.console import Console

from lightspeed.assistant.events import Completed, Ending, Failed
from lightspeed.assistant.pauses import Pauses
from lightspeed.assistant.request import TurnRequest
from lightspeed.commands.ask import answer
from lightspeed.commands.terminal_approval import NOBODY_THERE
from lightspeed.storage.approvals import Approvals
from lightspeed.storage.paused_turns import PausedTurns
from lightspeed.telemetry.metrics import Face
from lightspeed.tools.tool import ToolTrouble
from tests.assistant.conftest import House, open_house, scripted_stack
from tests.assistant.scripted_tools import ScriptedSource, ScriptedTool
from tests.scripted_model import Reply, ToolCall

pytestmark = pytest.mark.anyio

ESCAPE = "\x1b[2J"


class Terminal(io.StringIO):
    """Standard input at which somebody sits and types."""

    def isatty(self) -> bool:
        return True


class Asked:
    """A question whose answer needs the tool `wipe`, once for each host."""

    def __init__(self, house: House) -> None:
        self.tool = ScriptedTool("wipe", needs_approval=True)
        pauses = Pauses(PausedTurns(house.database), Approvals(house.database), house.recorder, timeout=300)
        trouble = ToolTrouble("tickets", "unreachable", "It does not answer.")
        self.source = ScriptedSource([self.tool], [trouble])
        house.assistant = house.make(tool_sources=[self.source], pauses=pauses)
        self.house = house
        self.notes = io.StringIO()

    async def ask(self, *hosts: str) -> Ending:
        calls = [ToolCall("wipe", {"host": host}) for host in hosts]
        self.house.model.queue(Reply("One moment.", tool_calls=calls))
        self.house.model.queue(Reply(" Done."))
        request = TurnRequest(
            str(uuid4()),
            "user-1",
            "Clean up",
            Face.STREAMING_QUERY,
            stream=True,
            generate_topic_summary=False,
        )
        notes = Console(file=self.notes, width=500, highlight=False)
        return await answer(self.house.assistant, request, notes)

    @property
    def read_by_model(self) -> list[str]:
        messages = self.house.model.chats[-1].body["messages"]
        return [message["content"] for message in messages if message["role"] == "tool"]


@pytest.fixture
async def asked(tmp_path: Path) -> AsyncIterator[Asked]:
    async with scripted_stack(tmp_path) as (model, stack), open_house(tmp_path, model, stack) as house:
        yield Asked(house)


def types(monkeypatch: pytest.MonkeyPatch, *lines: str) -> None:
    monkeypatch.setattr("sys.stdin", Terminal("".join(f"{line}\n" for line in lines)))


async def test_each_call_is_asked_for_and_the_answer_goes_on(
    asked: Asked, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    types(monkeypatch, "y", "n", "Not n2")
    ending = await asked.ask("n1", f"n2{ESCAPE}")
    assert isinstance(ending, Completed)
    assert asked.tool.calls == [{"host": "n1"}]
    assert "Not n2" in asked.read_by_model[1]
    assert capsys.readouterr().out.split() == ["One", "moment.", "Done."]
    notes = asked.notes.getvalue()
    assert '{"host": "n1", "server_label": "ops"}' in notes
    assert "tools of tickets are missing" in notes
    assert ESCAPE not in notes
    assert notes.count("[wipe]") == 1


async def test_without_a_terminal_nothing_is_allowed(asked: Asked, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO("y\n"))
    ending = await asked.ask("n1")
    assert isinstance(ending, Completed)
    assert asked.tool.calls == []
    assert NOBODY_THERE in asked.read_by_model[0]
    assert "denied" in asked.notes.getvalue()


async def test_the_end_of_input_allows_nothing(asked: Asked, monkeypatch: pytest.MonkeyPatch) -> None:
    types(monkeypatch)
    assert isinstance(await asked.ask("n1"), Completed)
    assert asked.tool.calls == []


async def test_an_answer_that_comes_too_late_is_told(asked: Asked, monkeypatch: pytest.MonkeyPatch) -> None:
    types(monkeypatch, "y")
    pauses = asked.house.assistant.pauses
    assert pauses is not None
    monkeypatch.setattr(pauses, "_timeout", pauses._timeout * 0)
    ending = await asked.ask("n1")
    assert isinstance(ending, Failed)
    assert "Approval expired" in asked.notes.getvalue()
    assert asked.tool.calls == []
