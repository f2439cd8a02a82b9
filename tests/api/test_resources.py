"""The smaller resources: models, info, health, metrics, feedback."""

import json
from typing import Any

import pytest

from tests.api.conftest import Service

pytestmark = pytest.mark.anyio


async def test_models_have_the_shape_of_the_contract(service: Service) -> None:
    models = (await service.client.get("/v1/models")).json()["models"]
    assert {
        "identifier": "scripted/scripted",
        "metadata": {},
        "api_model_type": "llm",
        "provider_id": "scripted",
        "type": "model",
        "provider_resource_id": "scripted",
        "model_type": "llm",
    } in models


async def test_models_are_filtered_by_type(service: Service) -> None:
    assert (await service.client.get("/v1/models?model_type=rerank")).json() == {"models": []}
    assert (await service.client.get("/v1/models?colour=red")).status_code == 422


async def test_info_names_service_and_versions(service: Service) -> None:
    body = (await service.client.get("/v1/info")).json()
    assert body["name"] == "Test service"
    assert body["llama_stack_version"] == "0.7.3"
    assert set(body) == {"name", "service_version", "llama_stack_version"}


async def test_health_and_front_page(service: Service) -> None:
    assert (await service.client.get("/liveness")).json() == {"alive": True}
    assert (await service.client.get("/readiness")).json() == {
        "ready": True,
        "reason": "All providers are healthy",
        "providers": [],
    }
    page = await service.client.get("/")
    assert page.headers["content-type"].startswith("text/html")
    assert "Test service" in page.text
    assert (await service.client.head("/liveness")).status_code == 200
    assert (await service.client.get("/v1/liveness")).status_code == 404


async def test_metrics_count_by_route(service: Service) -> None:
    await service.client.get("/v1/info")
    answer = await service.client.get("/metrics")
    assert answer.headers["content-type"] == "text/plain; version=1.0.0; charset=utf-8"
    assert 'ls_rest_api_calls_total{path="/v1/info",status_code="200"}' in answer.text


async def test_every_operation_is_described(service: Service) -> None:
    document = (await service.client.get("/openapi.json")).json()
    assert document["openapi"].startswith("3.1")
    assert set(document["paths"]) >= {
        "/v1/query",
        "/v1/streaming_query",
        "/v1/streaming_query/interrupt",
        "/v1/models",
        "/v1/info",
        "/v1/feedback",
        "/v1/feedback/status",
        "/readiness",
        "/liveness",
        "/metrics",
    }
    streaming = document["paths"]["/v1/streaming_query"]["post"]["responses"]["200"]["content"]
    assert set(streaming) == {"text/event-stream", "text/plain"}


async def test_the_documentation_page_needs_no_other_host(service: Service) -> None:
    page = (await service.client.get("/docs")).text
    assert "//" not in page.replace("<!DOCTYPE html>", "")


def feedback(conversation_id: str, **fields: Any) -> dict[str, Any]:
    return {"conversation_id": conversation_id, "user_question": "q", "llm_response": "a"} | fields


async def test_feedback_becomes_a_file(service: Service) -> None:
    conversation = (await service.client.post("/v1/query", json={"query": "q"})).json()["conversation_id"]
    answer = await service.client.post(
        "/v1/feedback",
        json=feedback(conversation, sentiment=-1, categories=["incorrect", "other", "incorrect"]),
    )
    assert answer.json() == {"response": "feedback received"}
    (file,) = list((service.state / "feedback").glob("*.json"))
    stored = json.loads(file.read_text())
    assert list(stored) == [
        "user_id",
        "timestamp",
        "conversation_id",
        "user_question",
        "llm_response",
        "sentiment",
        "user_feedback",
        "categories",
    ]
    assert stored["categories"] == ["incorrect", "other"]
    file.unlink()


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        (
            {},
            "Value error, At least one form of feedback must be provided: 'sentiment', 'user_feedback', "
            "or 'categories'",
        ),
        ({"sentiment": 3}, "Value error, Improper sentiment value of 3, needs to be -1 or 1"),
        (
            {"conversation_id": "abc", "sentiment": 1},
            "Value error, Improper conversation ID abc",
        ),
        ({"user_feedback": "x" * 4097}, "String should have at most 4096 characters"),
    ],
)
async def test_feedback_that_says_nothing_is_refused(
    service: Service, fields: dict[str, Any], message: str
) -> None:
    answer = await service.client.post("/v1/feedback", json={**feedback("0" * 48), **fields})
    assert answer.status_code == 422
    assert answer.json()["detail"][0]["msg"] == message


async def test_feedback_on_unknown_and_foreign_conversations(service: Service) -> None:
    answer = await service.client.post("/v1/feedback", json=feedback("0" * 48, sentiment=1))
    assert answer.status_code == 404
    conversation = (await service.client.post("/v1/query", json={"query": "q"})).json()["conversation_id"]
    answer = await service.client.post("/v1/feedback?user_id=guest", json=feedback(conversation, sentiment=1))
    assert answer.status_code == 403
    assert "submit feedback for" in answer.json()["detail"]["cause"]


async def test_feedback_status_is_public_and_only_an_administrator_changes_it(service: Service) -> None:
    expected = {"functionality": "feedback", "status": {"enabled": True}}
    assert (await service.client.get("/v1/feedback/status")).json() == expected
    assert (await service.client.put("/v1/feedback/status", json={"status": False})).status_code == 403
    assert (await service.client.get("/v1/feedback/status")).json() == expected
