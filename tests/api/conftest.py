"""The whole application in this process, with the embedded stack in front of a scripted model."""

from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
from asgi_lifespan import LifespanManager

from lightspeed.app import create_app
from lightspeed.configuration.root import Configuration
from lightspeed.services import Plan
from tests.embedded import run_configuration
from tests.scripted_model import Reply, ScriptedModel


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
        "user_data_collection": {
            "feedback_enabled": True,
            "feedback_storage": str(state / "feedback"),
            "transcripts_enabled": True,
            "transcripts_storage": str(state / "transcripts"),
        },
    }
    loaded = Configuration.model_validate(configuration | sections)
    return Plan(loaded, run_configuration(state, model), run_file)


@dataclass
class Service:
    client: httpx.AsyncClient
    model: ScriptedModel
    state: Path


async def running(state: Path, model: ScriptedModel, **sections: Any) -> AsyncIterator[Service]:
    app = create_app(plan(state, model, **sections))
    async with LifespanManager(app, startup_timeout=30, shutdown_timeout=30) as manager:
        transport = httpx.ASGITransport(manager.app)
        async with httpx.AsyncClient(transport=transport, base_url="http://service") as client:
            with_deadline = [await client.get("/readiness")]
            while with_deadline[-1].status_code != 200:
                assert len(with_deadline) < 3000, with_deadline[-1].text
                await _moment()
                with_deadline.append(await client.get("/readiness"))
            yield Service(client, model, state)


async def _moment() -> None:
    import anyio

    await anyio.sleep(0.01)


@pytest.fixture(scope="module")
async def service(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Service]:
    state = tmp_path_factory.mktemp("state")
    with ScriptedModel() as model:
        async for service in running(state, model):
            yield service


@pytest.fixture(autouse=True)
def scripted_default(request: pytest.FixtureRequest) -> None:
    if "service" in request.fixturenames:
        request.getfixturevalue("service").model.default(Reply("A scripted answer."))
