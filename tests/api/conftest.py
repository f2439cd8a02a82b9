"""The whole application in this process, with the embedded stack in front of a scripted model."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import quote

import anyio
import httpx
import pytest
from anyio import to_thread
from asgi_lifespan import LifespanManager

from lightspeed.app import create_app
from lightspeed.assistant.settings import DEFAULT_TOPIC_SUMMARY_PROMPT
from lightspeed.configuration.root import Configuration
from lightspeed.errors import Forbidden, LightspeedError
from lightspeed.identity.access import without_rules
from lightspeed.identity.actions import Action
from lightspeed.identity.principal import Principal
from lightspeed.plan import Plan
from lightspeed.storage.conversations import Conversations
from lightspeed.storage.database import Database
from tests.embedded import run_configuration
from tests.scripted_model import Reply, ScriptedModel, Usage

ROOT, BOUND, NOBODY = "root", "bound", "nobody"


def plan(state: Path, model: ScriptedModel, **sections: Any) -> Plan:
    """What a configuration file for the scripted model would ask for; `sections` replace its sections."""
    (state / "stack").mkdir(parents=True, exist_ok=True)
    run_file = state / "run.yaml"
    run_file.touch()
    configuration = {
        "name": "Test service",
        "service": {},
        "llama_stack": {"use_as_library_client": True, "library_client_config_path": str(run_file)},
        "inference": {"default_provider": "scripted", "default_model": "scripted"},
        "rag": {"inline": ["none"]},
        "database": {"sqlite": {"db_path": str(state / "lightspeed.db")}},
        "conversation_cache": {"type": "sqlite", "sqlite": {"db_path": str(state / "lightspeed.db")}},
        "user_data_collection": {
            "feedback_enabled": True,
            "feedback_storage": str(state / "feedback"),
            "transcripts_enabled": True,
            "transcripts_storage": str(state / "transcripts"),
        },
    }
    loaded = Configuration.model_validate(configuration | sections)
    return Plan(loaded, run_configuration(state, model), run_file)


def rules(principal: Principal, action: Action) -> None:
    """`root` may do everything, `nobody` nothing, others what is their own, `bound` with the default model only."""
    user_id = principal.user_id
    if user_id == NOBODY or (user_id == BOUND and action is Action.MODEL_OVERRIDE):
        raise Forbidden(
            f"User {user_id} is not authorized to access this endpoint.",
            response="User does not have permission to access this endpoint",
        )
    if user_id != ROOT:
        without_rules(principal, action)


def asks_for_a_topic(request: dict[str, Any]) -> bool:
    return DEFAULT_TOPIC_SUMMARY_PROMPT in str(request["messages"][0]["content"])


@dataclass
class Service:
    """`app` speaks ASGI, for tests that read a stream while it goes on."""

    app: Any
    client: httpx.AsyncClient
    model: ScriptedModel
    state: Path

    @property
    def questions(self) -> list[dict[str, Any]]:
        """What the model was asked, without the requests for topics."""
        return [chat.body for chat in self.model.chats if not asks_for_a_topic(chat.body)]

    def user(self, user_id: str) -> httpx.AsyncClient:
        """A client whose every request names this user."""
        named = b"&user_id=" + quote(user_id).encode()

        async def app(scope: Any, receive: Any, send: Any) -> None:
            await self.app({**scope, "query_string": scope["query_string"] + named}, receive, send)

        return httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://service")


@asynccontextmanager
async def running(state: Path, model: ScriptedModel, **sections: Any) -> AsyncIterator[Service]:
    model.when(asks_for_a_topic, Reply("Scripted topic", usage=Usage(9, 2)))
    failures: list[LightspeedError] = []
    checked = await to_thread.run_sync(partial(plan, state, model, **sections))
    app = create_app(checked, failures.append, authorize=rules)
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("LIGHTSPEED_STATE", str(state))
        async with LifespanManager(app, startup_timeout=30, shutdown_timeout=30) as manager:
            transport = httpx.ASGITransport(manager.app)
            async with httpx.AsyncClient(transport=transport, base_url="http://service") as client:
                with anyio.fail_after(30):
                    while True:
                        if (await client.get("/readiness")).status_code == 200:
                            break
                        assert not failures
                        await anyio.sleep(0.01)
                yield Service(manager.app, client, model, state)


@asynccontextmanager
async def stored(service: Service) -> AsyncIterator[Conversations]:
    """What the service has stored, through a connection of the test."""
    database = Database.at(service.state / "lightspeed.db")
    await database.open()
    try:
        yield Conversations(database)
    finally:
        await database.close()


@pytest.fixture(scope="module")
async def service(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Service]:
    state = tmp_path_factory.mktemp("state")
    with ScriptedModel() as model:
        async with running(state, model) as service:
            yield service


@pytest.fixture(autouse=True)
def scripted_default(request: pytest.FixtureRequest) -> None:
    if "service" in request.fixturenames:
        request.getfixturevalue("service").model.default(Reply("A scripted answer."))
