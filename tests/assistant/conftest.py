"""An assistant with real parts: the embedded stack, SQLite and files; only the model is scripted."""

from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from lightspeed.assistant.assistant import Assistant
from lightspeed.assistant.request import TurnRequest
from lightspeed.assistant.settings import AssistantSettings
from lightspeed.retrieval.search import KnowledgeSearch, KnowledgeSettings
from lightspeed.storage.conversations import Conversations
from lightspeed.storage.database import Database
from lightspeed.storage.transcripts import Transcripts
from lightspeed.telemetry.metrics import Face, Metrics
from tests.embedded import KNOWLEDGE, embedded_stack, run_configuration, with_store
from tests.scripted_model import ScriptedModel


@dataclass
class House:
    """Everything that a test of the Turn may want to look at."""

    model: ScriptedModel
    stack: Any
    conversations: Conversations
    database: Database
    metrics: Metrics
    transcripts: Path
    assistant: Assistant
    make: Callable[..., Assistant]

    def ask(self, query: str = "How many nodes?", **changes: Any) -> Any:
        request = TurnRequest(str(uuid4()), "user-1", query, Face.QUERY, stream=True)
        return self.assistant.start(replace(request, **changes))


@pytest.fixture
async def house(tmp_path: Path) -> AsyncIterator[House]:
    async with ScriptedModel() as model:
        configuration = with_store(run_configuration(tmp_path, model, **KNOWLEDGE), "docs", "other")
        (tmp_path / "stack").mkdir()
        async with embedded_stack(configuration) as stack:
            database = Database.at(tmp_path / "lightspeed.db")
            await database.open()
            conversations, metrics = Conversations(database), Metrics()
            transcripts = tmp_path / "transcripts"

            def make(knowledge: KnowledgeSettings | None = None, **settings: Any) -> Assistant:
                # Knowledge stays out of the way unless a test asks for it.
                return Assistant(
                    models=stack,
                    knowledge=KnowledgeSearch(
                        stack.knowledge, knowledge or KnowledgeSettings(inline=("none",))
                    ),
                    conversations=conversations,
                    transcripts=Transcripts(transcripts),
                    metrics=metrics,
                    settings=AssistantSettings(
                        **{"default_provider": "scripted", "default_model": "scripted"} | settings
                    ),
                )

            house = House(model, stack, conversations, database, metrics, transcripts, make(), make)
            try:
                yield house
            finally:
                await house.assistant.close(5)
                await database.close()
