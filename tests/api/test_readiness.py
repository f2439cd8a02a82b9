"""Readiness while providers come and go, in one process."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import anyio
import httpx
import pytest
from anyio import to_thread
from asgi_lifespan import LifespanManager

from lightspeed.app import create_app
from tests.api.conftest import asks_for_a_topic, plan
from tests.scripted_model import Reply, ScriptedModel

REFUSED = "It cannot be reached: the connection was refused."

pytestmark = pytest.mark.anyio


@asynccontextmanager
async def client_of(
    state: Path, model: ScriptedModel, *more: dict[str, Any], **sections: Any
) -> AsyncIterator[httpx.AsyncClient]:
    """A service that has come as far as it can; `more` are further entries of providers.inference."""
    model.when(asks_for_a_topic, Reply("Topic"))
    checked = await to_thread.run_sync(partial(plan, state, model, **sections))
    run: dict[str, Any] = dict(checked.run_configuration)
    inference = [*run["providers"]["inference"], *more]
    run["providers"] = run["providers"] | {"inference": inference}
    app = create_app(replace(checked, run_configuration=run), load_first=True)
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("LIGHTSPEED_STATE", str(state))
        async with LifespanManager(app, startup_timeout=60, shutdown_timeout=30) as manager:
            transport = httpx.ASGITransport(manager.app)
            async with httpx.AsyncClient(transport=transport, base_url="http://service") as client:
                yield client


async def until(client: httpx.AsyncClient, status: int, impacts: bool) -> dict[str, Any]:
    with anyio.fail_after(20):
        while True:
            answer = await client.get("/readiness")
            body: dict[str, Any] = answer.json()
            if answer.status_code == status and bool(body["impacts"]) == impacts:
                return body
            await anyio.sleep(0.02)


def provider(name: str, model: ScriptedModel) -> dict[str, Any]:
    return {
        "provider_id": name,
        "provider_type": "remote::openai",
        "config": {"api_key": "sk-other-key", "base_url": model.base_url},
    }


async def test_no_provider_at_the_start_then_one_then_none(tmp_path: Path) -> None:
    model = ScriptedModel()
    with model:
        pass
    gauge = 'ls_provider_model_configuration{model="scripted",provider="scripted"} 1.0'
    async with client_of(tmp_path, model) as client:
        answer = await client.get("/readiness")
        assert answer.status_code == 503
        assert answer.json() == {
            "ready": False,
            "reason": "Providers not healthy: scripted",
            "providers": [{"provider_id": "scripted", "status": "Error", "message": REFUSED}],
            "impacts": [],
        }
        assert (await client.get("/liveness")).status_code == 200
        assert (await client.get("/v1/config")).status_code == 200
        assert (await client.get("/v1/conversations")).status_code == 200
        assert (await client.get("/v1/providers/scripted")).json()["health"]["status"] == "Error"
        assert gauge not in (await client.get("/metrics")).text
        asked = await client.post("/v1/query", json={"query": "How?"})
        assert asked.status_code == 503
        async with model:
            assert (await until(client, 200, False))["reason"] == "All providers are healthy"
            assert (await client.post("/v1/query", json={"query": "How?"})).status_code == 200
            assert gauge in (await client.get("/metrics")).text
        asked = await client.post("/v1/query", json={"query": "How?"})
        assert asked.status_code == 503
        # The connections use aiohttp, which calls this a timeout.
        cause = "The model provider cannot be reached: the connection was refused."
        assert asked.json()["detail"]["cause"] == cause
        assert (await until(client, 503, False))["reason"] == "Providers not healthy: scripted"


async def test_one_of_two_providers_is_down(tmp_path: Path) -> None:
    gone = ScriptedModel()
    with gone:
        pass
    async with (
        ScriptedModel(models=["other"]) as model,
        client_of(tmp_path, model, provider("gone", gone), inference={}) as client,
    ):
        body = await until(client, 200, True)
        assert body["impacts"] == [{"component": "gone", "message": REFUSED}]
        assert [entry["provider_id"] for entry in body["providers"]] == ["gone"]
        assert body["reason"] == "Questions are answered, but not everything works: gone"
        assert (await client.post("/v1/query", json={"query": "How?"})).status_code == 200
        asked = {"query": "How?", "provider": "gone", "model": "scripted"}
        refused = await client.post("/v1/query", json=asked)
        assert refused.status_code == 503
        assert "gone" in refused.json()["detail"]["cause"]


async def test_the_default_model_is_not_there(tmp_path: Path) -> None:
    inference = {"default_provider": "scripted", "default_model": "unknown"}
    async with ScriptedModel() as model, client_of(tmp_path, model, inference=inference) as client:
        answer = await client.get("/readiness")
        assert answer.status_code == 503
        assert answer.json()["reason"] == "Model scripted/unknown not found in model registry"
