"""An assistant with real parts: the embedded stack, SQLite and files; only the model is scripted."""

import sqlite3
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, closing, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from anyio import to_thread

from lightspeed.assistant.assistant import Assistant
from lightspeed.assistant.recorder import Recorder
from lightspeed.assistant.request import TurnRequest
from lightspeed.assistant.settings import AssistantSettings
from lightspeed.retrieval.search import KnowledgeSearch, KnowledgeSettings
from lightspeed.storage.conversations import Conversations
from lightspeed.storage.database import Database
from lightspeed.storage.pending import PendingTurns
from lightspeed.storage.transcripts import Transcripts
from lightspeed.telemetry.metrics import Face, Metrics
from tests.embedded import embedded_stack, knowledge, run_configuration, with_store
from tests.postgresql import Postgresql, postgresql_server
from tests.scripted_model import Reply, ScriptedModel


@dataclass
class House:
    """Everything that a test of the Turn may want to look at."""

    model: ScriptedModel
    stack: Any
    conversations: Conversations
    database: Database
    metrics: Metrics
    folder: Path
    recorder: Recorder
    assistant: Assistant
    make: Callable[..., Assistant]

    def ask(self, query: str = "How many nodes?", **changes: Any) -> Any:
        # Names stay out of the way unless a test asks for them.
        request = TurnRequest(
            str(uuid4()), "user-1", query, Face.QUERY, stream=True, generate_topic_summary=False
        )
        return self.assistant.start(replace(request, **changes))

    async def counted(self, name: str) -> float:
        """The value of a counter of the one model, or of the one kind."""
        text = (await to_thread.run_sync(self.metrics.exposition)).decode()
        values = [line.rpartition(" ")[2] for line in text.splitlines() if line.startswith(name + "{")]
        assert len(values) <= 1
        return float(values[0]) if values else 0.0

    async def files(self, folder: str) -> list[Path]:
        """The files below `transcripts` or `pending`."""
        return await to_thread.run_sync(files_below, self.folder / folder)


def files_below(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.is_file())


@pytest.fixture
async def house(tmp_path: Path) -> AsyncIterator[House]:
    async with scripted_stack(tmp_path) as (model, stack), open_house(tmp_path, model, stack) as house:
        yield house


@pytest.fixture(scope="module")
async def shared_stack(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[tuple[ScriptedModel, Any]]:
    """For tests that leave the stack as it is: it takes longer to start than they do."""
    async with scripted_stack(tmp_path_factory.mktemp("stack")) as parts:
        yield parts


@pytest.fixture
async def shared_house(shared_stack: tuple[ScriptedModel, Any], tmp_path: Path) -> AsyncIterator[House]:
    """A house of its own in front of the `shared_stack`; its model has not been asked anything yet."""
    model, stack = shared_stack
    model.default(Reply("A scripted answer."))
    async with open_house(tmp_path, ModelFromNow(model), stack) as house:
        yield house


class ModelFromNow:
    """A scripted model without what others have asked it before."""

    def __init__(self, model: ScriptedModel) -> None:
        self._model = model
        self._before = len(model.chats)

    @property
    def chats(self) -> Any:
        return self._model.chats[self._before :]

    async def wait_for_request(self, number: int = 1) -> Any:
        return await self._model.wait_for_request(self._before + number)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._model, name)


@asynccontextmanager
async def scripted_stack(folder: Path) -> AsyncIterator[tuple[ScriptedModel, Any]]:
    async with ScriptedModel() as model:
        configuration = with_store(
            run_configuration(folder, model, **knowledge(folder / "knowledge")), "docs", "other"
        )
        (folder / "stack").mkdir()
        async with embedded_stack(configuration) as stack:
            yield model, stack


@asynccontextmanager
async def open_house(tmp_path: Path, model: Any, stack: Any) -> AsyncIterator[House]:
    database = Database.at(tmp_path / "lightspeed.db")
    await database.open()
    conversations, metrics = Conversations(database), Metrics()
    recorder = Recorder(
        conversations,
        PendingTurns(tmp_path / "pending"),
        Transcripts(tmp_path / "transcripts"),
        metrics,
    )
    recorder.start()

    def make(knowledge: KnowledgeSettings | None = None, **settings: Any) -> Assistant:
        # Knowledge stays out of the way unless a test asks for it.
        return Assistant(
            models=stack,
            knowledge=KnowledgeSearch(stack.knowledge, knowledge or KnowledgeSettings(inline=("none",))),
            conversations=settings.pop("conversations", conversations),
            recorder=settings.pop("recorder", recorder),
            metrics=metrics,
            tool_sources=settings.pop("tool_sources", ()),
            skills=settings.pop("skills", None),
            pauses=settings.pop("pauses", None),
            settings=AssistantSettings(
                **{"default_provider": "scripted", "default_model": "scripted"} | settings
            ),
        )

    house = House(model, stack, conversations, database, metrics, tmp_path, recorder, make(), make)
    try:
        yield house
    finally:
        await house.assistant.close(5)
        await recorder.close()
        await database.close()


@pytest.fixture(scope="session")
def stoppable_postgresql() -> Iterator[Postgresql]:
    """A server that a test may stop."""
    with postgresql_server() as server:
        server.stop()
        # Whoever is told of a commit must find it again after the stop.
        server.options = "-c synchronous_commit=on"
        server.start()
        yield server


@contextmanager
def locked(database: Path) -> Iterator[None]:
    """Another process writes to a SQLite file and does not come to an end."""
    with closing(sqlite3.connect(database, isolation_level=None, check_same_thread=False)) as other:
        other.execute("BEGIN EXCLUSIVE")
        yield
        other.execute("COMMIT")
