"""What the conversation routes answer when the history is kept nowhere, without texts, or out of reach."""

import socket
from collections.abc import AsyncIterator
from typing import Any

import pytest

from tests.api.conftest import Service, running
from tests.scripted_model import ScriptedModel

pytestmark = pytest.mark.anyio

UNKNOWN = "0" * 48
NAME = {"topic_summary": "Nodes"}


async def ask(service: Service, **body: Any) -> Any:
    return await service.client.post("/v1/query", json={"query": "How many?", **body})


@pytest.fixture(scope="module")
async def unset(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Service]:
    with ScriptedModel() as model:
        async with running(tmp_path_factory.mktemp("state"), model, conversation_cache={}) as service:
            yield service


async def test_version_2_needs_a_place_for_the_history(unset: Service) -> None:
    conversation_id = (await ask(unset)).json()["conversation_id"]
    assert (await unset.client.get(f"/v1/conversations/{conversation_id}")).status_code == 200
    paths = ("/v2/conversations", f"/v2/conversations/{conversation_id}")
    for method, path in (("GET", paths[0]), ("GET", paths[1]), ("PUT", paths[1]), ("DELETE", paths[1])):
        answer = await unset.client.request(method, path, json=NAME if method == "PUT" else None)
        assert answer.status_code == 500
        assert answer.json()["detail"] == {
            "response": "Conversation cache not configured",
            "cause": "Conversation cache is not configured or unavailable.",
        }
        if path != paths[0]:
            bad = await unset.client.request(
                method, "/v2/conversations/abc", json=NAME if method == "PUT" else None
            )
            assert bad.status_code == 400


@pytest.fixture(scope="module")
async def noop(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Service]:
    with ScriptedModel() as model:
        async with running(
            tmp_path_factory.mktemp("state"), model, conversation_cache={"type": "noop"}
        ) as service:
            yield service


async def test_without_texts_there_are_conversations_but_no_history(noop: Service) -> None:
    conversation_id = (await ask(noop)).json()["conversation_id"]
    (entry,) = (await noop.client.get("/v1/conversations")).json()["conversations"]
    assert (entry["conversation_id"], entry["message_count"]) == (conversation_id, 1)
    assert (await noop.client.get("/v2/conversations")).json() == {"conversations": []}
    for version in ("v1", "v2"):
        answer = await noop.client.get(f"/{version}/conversations/{conversation_id}")
        assert answer.status_code == 404
        assert answer.json()["detail"]["response"] == "Conversation not found"
    assert (await noop.client.put(f"/v1/conversations/{conversation_id}", json=NAME)).status_code == 200
    assert (await noop.client.put(f"/v2/conversations/{conversation_id}", json=NAME)).status_code == 404
    for deleted in (True, False):
        answer = await noop.client.delete(f"/v2/conversations/{conversation_id}")
        assert (answer.status_code, answer.json()["deleted"]) == (200, deleted)
    assert (await noop.client.get("/v1/conversations")).json() == {"conversations": []}


@pytest.fixture(scope="module")
async def away(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Service]:
    """All databases are on a server that nobody can reach."""
    with ScriptedModel() as model, socket.socket() as nobody_listens:
        nobody_listens.bind(("127.0.0.1", 0))
        postgres = {
            "postgres": {
                "host": "127.0.0.1",
                "port": nobody_listens.getsockname()[1],
                "db": "lightspeed",
                "user": "lightspeed",
                "password": "a secret",
                "ssl_mode": "disable",
            }
        }
        async with running(
            tmp_path_factory.mktemp("state"),
            model,
            database=postgres,
            conversation_cache={"type": "postgres", **postgres},
        ) as service:
            yield service


@pytest.mark.parametrize("version", ["v1", "v2"])
@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", ""),
        ("GET", "?limit=2&search=x"),
        ("GET", f"?after={UNKNOWN}"),
        ("GET", f"/{UNKNOWN}"),
        ("PUT", f"/{UNKNOWN}"),
        ("DELETE", f"/{UNKNOWN}"),
    ],
)
async def test_a_database_out_of_reach_is_told(away: Service, version: str, method: str, path: str) -> None:
    answer = await away.client.request(
        method, f"/{version}/conversations{path}", json=NAME if method == "PUT" else None
    )
    assert answer.status_code == 500
    assert answer.json()["detail"] == {
        "response": "Database query failed",
        "cause": "Failed to query the database",
    }


async def test_questions_are_answered_while_the_database_is_out_of_reach(away: Service) -> None:
    assert (await ask(away)).status_code == 200
    for path in ("/v1/query", "/v1/streaming_query"):
        answer = await away.client.post(path, json={"query": "more", "conversation_id": UNKNOWN})
        assert answer.status_code == 500
        assert answer.json()["detail"]["response"] == "Database query failed"


async def test_readiness_tells_what_is_missing(away: Service) -> None:
    answer = await away.client.get("/readiness")
    assert answer.status_code == 200
    body = answer.json()
    assert set(body) == {"ready", "reason", "providers", "impacts"}
    assert body["ready"] is True
    assert body["reason"] == "Questions are answered, but not everything works: database"
    assert {impact["component"] for impact in body["impacts"]} == {"database"}
    assert all(impact["message"] for impact in body["impacts"])
    assert "a secret" not in answer.text


async def test_feedback_is_switched_as_configured_while_the_database_is_out_of_reach(away: Service) -> None:
    answer = await away.client.get("/v1/feedback/status")
    assert answer.json() == {"functionality": "feedback", "status": {"enabled": True}}
    answer = await away.client.put("/v1/feedback/status?user_id=root", json={"status": False})
    assert answer.status_code == 500
    assert answer.json()["detail"]["response"] == "Database query failed"
    answer = await away.client.get("/v1/feedback/status")
    assert answer.json()["status"] == {"enabled": True}
