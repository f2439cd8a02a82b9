"""`lightspeed purge` as a user would start it, on what a service has kept."""

import asyncio
import os
import pty
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from pydantic_core import to_json

from lightspeed.cli import run
from lightspeed.commands.purge import purge_command
from lightspeed.configuration.root import Configuration
from lightspeed.errors import ConfigurationError
from lightspeed.storage.pending import PendingTurn
from lightspeed.storage.registered_server import RegisteredServer
from lightspeed.storage.store import Store, configured_store
from tests.postgresql import Postgresql
from tests.storage.turns import a_turn, following

ROOT = Path(__file__).parents[2]
SOURCE = Path("file.yaml")
NOW = datetime.now(UTC)
SECRET = "what alice asked in private"


class Kept:
    """A configuration, and what has been kept with it."""

    def __init__(self, folder: Path, database: dict[str, Any], **sections: Any) -> None:
        self.folder = folder
        self.sections: dict[str, Any] = {
            "name": "test",
            "service": {},
            "llama_stack": {"url": "http://127.0.0.1:1"},
            "database": database,
            # Switched off: what was kept before can be erased nevertheless.
            "user_data_collection": {
                "feedback_storage": str(folder / "feedback"),
                "transcripts_storage": str(folder / "transcripts"),
            },
            **sections,
        }

    @property
    def configuration(self) -> Configuration:
        return Configuration.model_validate(self.sections)

    def with_store[T](self, work: Callable[[Store], Any]) -> Any:
        async def run() -> Any:
            store = configured_store(self.configuration, self.folder / "state")
            await store.open()
            try:
                return await work(store)
            finally:
                await store.close()

        return asyncio.run(run())

    def fill(self) -> None:
        """Alice has a conversation, a question in one of Bob's, files about both, and a turn that waits."""

        async def fill(store: Store) -> None:
            own, foreign = a_turn(query=SECRET), a_turn(user_id="bob")
            guest = following(foreign, user_id="alice", query=SECRET)
            for turn, begins in ((own, True), (foreign, True), (guest, False)):
                await store.conversations.record(turn, begins=begins)
                assert store.transcripts is not None
                await store.transcripts.store(turn)
            assert store.feedback is not None
            await store.feedback.store("alice", {"conversation_id": own.conversation_id})
            await store.pending.add(PendingTurn(following(own), begins=False))
            for user in ("alice", "bob"):
                await store.saved_prompts.add(
                    user, own.conversation_id, SECRET if user == "alice" else "", most=5
                )
                await store.prompts.add(user, "Tell me.", [])
                address = "http://mcp.example/" + (SECRET if user == "alice" else "")
                server = RegisteredServer(f"of-{user}", user, address, "mcp", NOW, {})
                await store.mcp_servers.add(server, limit=5)

        self.with_store(fill)

    def left(self) -> dict[str, int]:
        """How many conversations each user has, and how many files there are."""

        async def count(store: Store) -> dict[str, int]:
            users = [each.user_id for each in await store.conversations.newest(None)]
            return {user: users.count(user) for user in users}

        return self.with_store(count) | {"files": len(list(self.folder.rglob("*.[jp][se]*n*")))}

    def purge(self, user_id: str | None, *, yes: bool = True) -> int:
        return purge_command(self.configuration, SOURCE, user_id, yes=yes)

    def write(self) -> str:
        path = self.folder / "configuration.yaml"
        path.write_bytes(to_json(self.sections))
        return str(path)


@pytest.fixture(autouse=True)
def environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LIGHTSPEED_STATE", str(tmp_path / "state"))


@pytest.fixture(params=["sqlite", "postgresql"])
def kept(request: pytest.FixtureRequest, tmp_path: Path) -> Kept:
    if request.param == "sqlite":
        return Kept(tmp_path, {"sqlite": {"db_path": str(tmp_path / "lightspeed.db")}})
    server: Postgresql = request.getfixturevalue("postgresql")
    return Kept(tmp_path, {"postgres": server.configuration(server.emptied_database())})


@pytest.fixture
def in_file(tmp_path: Path) -> Kept:
    return Kept(tmp_path, {"sqlite": {"db_path": str(tmp_path / "lightspeed.db")}})


def test_all_that_is_kept_of_a_user_is_erased(kept: Kept, capsys: pytest.CaptureFixture[str]) -> None:
    kept.fill()
    assert kept.left() == {"alice": 1, "bob": 1, "files": 5}
    assert kept.purge("alice") == 0
    assert capsys.readouterr().out == (
        "Kept of the user alice: 1 conversation, 1 turn in conversations of others, 2 transcripts, "
        "1 piece of feedback, 1 turn that waits to be recorded, 1 saved prompt, "
        "1 version of a prompt that names its author, 1 MCP server.\n"
        "Erased: 1 conversation, 1 turn in conversations of others, 2 transcripts, "
        "1 piece of feedback, 1 turn that waits to be recorded, 1 saved prompt, "
        "1 version of a prompt that names its author, 1 MCP server.\n"
    )
    assert kept.left() == {"bob": 1, "files": 1}
    assert kept.purge("alice") == 0
    assert capsys.readouterr().out == "Nothing is kept of the user alice.\n"


def test_the_file_holds_nothing_of_it_any_more(in_file: Kept) -> None:
    in_file.fill()
    everything = lambda: b"".join(path.read_bytes() for path in in_file.folder.rglob("*") if path.is_file())  # noqa: E731
    assert SECRET.encode() in everything()
    assert in_file.purge("alice") == 0
    assert SECRET.encode() not in everything()


def test_conversations_are_found_where_the_history_was_before(
    in_file: Kept, capsys: pytest.CaptureFixture[str]
) -> None:
    in_file.fill()
    later = {"type": "sqlite", "sqlite": {"db_path": str(in_file.folder / "history.db")}}
    moved = Kept(in_file.folder, in_file.sections["database"], conversation_cache=later)
    moved.fill()
    assert moved.purge("alice") == 0
    assert (
        "Erased: 2 conversations, 2 turns in conversations of others, 4 transcripts"
        in capsys.readouterr().out
    )
    assert (in_file.left(), moved.left()) == ({"bob": 1, "files": 2}, {"bob": 1, "files": 2})


def test_it_works_while_the_service_does(kept: Kept) -> None:
    """The service goes on recording turns, of which none is lost."""

    async def serve(store: Store) -> int:
        recorded = 0
        purging = asyncio.create_task(asyncio.to_thread(kept.purge, "alice"))
        while not purging.done():
            await store.conversations.record(a_turn(user_id="carol"), begins=True)
            recorded += 1
        assert await purging == 0
        return recorded

    kept.fill()
    recorded = kept.with_store(serve)
    assert recorded
    assert kept.left() == {"bob": 1, "carol": recorded, "files": 1}


def test_nobody_to_ask_is_nobody_who_agrees(kept: Kept, capsys: pytest.CaptureFixture[str]) -> None:
    kept.fill()
    with pytest.raises(ConfigurationError, match="--yes"):
        kept.purge("alice", yes=False)
    assert "Kept of the user alice: 1 conversation" in capsys.readouterr().out
    assert kept.left() == {"alice": 1, "bob": 1, "files": 5}


@pytest.fixture
def terminal() -> Iterator[tuple[int, int]]:
    ends = pty.openpty()
    yield ends
    for end in ends:
        os.close(end)


@pytest.mark.parametrize(("answer", "code", "left"), [("n", 1, 1), ("", 1, 1), ("\x04", 1, 1), ("y", 0, 0)])
def test_it_asks_on_a_terminal(
    in_file: Kept, terminal: tuple[int, int], answer: str, code: int, left: int
) -> None:
    in_file.fill()
    ours, its = terminal
    command = [sys.executable, "-m", "lightspeed", "-c", in_file.write(), "purge", "--user", "alice"]
    with subprocess.Popen(
        command, cwd=ROOT, stdin=its, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    ) as process:
        os.write(ours, f"{answer}\n".encode() if answer != "\x04" else b"\x04")
        assert process.stdout is not None
        said = process.stdout.read().decode()
    assert process.returncode == code, said
    assert "Erase this for good?" in said
    assert in_file.left().get("alice", 0) == left


def test_the_stack_is_not_needed() -> None:
    names = "[name for name in sys.modules if name.startswith(('llama_stack', 'lightspeed.stack'))]"
    script = f"import sys, lightspeed.commands.purge; print({names})"
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert done.stdout == "[]\n"


def test_what_is_too_old_is_erased(kept: Kept, capsys: pytest.CaptureFixture[str]) -> None:
    async def fill(store: Store) -> None:
        for days in (9, 11, 12):
            at = NOW - timedelta(days=days)
            await store.conversations.record(a_turn(started_at=at, completed_at=at), begins=True)

    kept.with_store(fill)
    kept.sections["retention"] = {"conversations_days": 10}
    assert kept.purge(None) == 0
    assert capsys.readouterr().out == "Erased: 2 conversations.\n"
    assert kept.purge(None) == 0
    assert capsys.readouterr().out == "Nothing has expired.\n"
    assert kept.left() == {"alice": 1, "files": 0}


def test_without_an_age_nothing_expires(in_file: Kept) -> None:
    with pytest.raises(ConfigurationError, match=r"file\.yaml: retention: no age"):
        in_file.purge(None)


def test_a_user_has_a_name(in_file: Kept) -> None:
    with pytest.raises(ConfigurationError, match="--user"):
        in_file.purge("")


@pytest.mark.parametrize("arguments", [[], ["--user", "alice", "--expired"]])
def test_one_of_two_things_is_asked_for(in_file: Kept, arguments: list[str]) -> None:
    assert run(["-c", in_file.write(), "purge", *arguments]) == 2


def test_a_database_that_is_away_is_told_in_one_line(
    tmp_path: Path, postgresql: Postgresql, capsys: pytest.CaptureFixture[str]
) -> None:
    away = Kept(tmp_path, {"postgres": postgresql.configuration("postgres", port=1)})
    assert run(["-c", away.write(), "purge", "--user", "alice", "--yes"]) == 3
    errors = capsys.readouterr().err
    assert "ConnectionRefusedError" in errors.splitlines()[-1]
    assert postgresql.password not in errors


def test_odd_names_are_shown_as_they_are(in_file: Kept, capsys: pytest.CaptureFixture[str]) -> None:
    async def fill(store: Store) -> None:
        await store.conversations.record(replace(a_turn(), user_id="[bold]:smile: ' %s"), begins=True)

    in_file.with_store(fill)
    assert in_file.purge("[bold]:smile: ' %s") == 0
    assert "Kept of the user [bold]:smile: ' %s: 1 conversation." in capsys.readouterr().out
