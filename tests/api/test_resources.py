"""The smaller resources: models, info, health, metrics, feedback."""

import json
from datetime import datetime, timedelta
from typing import Any

import pytest

from tests.api.conftest import ROOT, Service

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
        "impacts": [],
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
        "/v1/conversations",
        "/v1/conversations/{conversation_id}",
        "/v2/conversations",
        "/v2/conversations/{conversation_id}",
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


LIST = {"200", "400", "401", "403", "404", "422", "500", "503"}
READ = {"200", "400", "401", "403", "404", "500", "503"}
UPDATE = {"200", "400", "401", "403", "404", "413", "422", "500", "503"}
DELETE = {"200", "400", "401", "403", "500", "503"}


@pytest.mark.parametrize(
    ("path", "method", "answer", "statuses"),
    [
        ("/v1/conversations", "get", "ConversationsListResponse", LIST),
        ("/v1/conversations/{conversation_id}", "get", "ConversationResponse", READ),
        ("/v1/conversations/{conversation_id}", "put", "ConversationUpdateResponse", UPDATE),
        ("/v1/conversations/{conversation_id}", "delete", "ConversationDeleteResponse", DELETE),
        ("/v2/conversations", "get", "ConversationsListResponseV2", LIST),
        ("/v2/conversations/{conversation_id}", "get", "ConversationResponse", READ),
        ("/v2/conversations/{conversation_id}", "put", "ConversationUpdateResponse", UPDATE),
        ("/v2/conversations/{conversation_id}", "delete", "ConversationDeleteResponse", DELETE),
    ],
)
async def test_conversation_routes_are_described(
    service: Service, path: str, method: str, answer: str, statuses: set[str]
) -> None:
    operation = (await service.client.get("/openapi.json")).json()["paths"][path][method]
    assert set(operation["responses"]) == statuses
    (content,) = operation["responses"]["200"]["content"].values()
    assert content["schema"]["$ref"].endswith(f"/{answer}")
    names = [parameter["name"] for parameter in operation["parameters"]]
    assert names == (["conversation_id"] if "{" in path else ["limit", "after", "search"])
    assert operation["tags"] == ["conversations_v1" if "v1" in path else "conversations_v2"]


@pytest.mark.parametrize(
    ("schema", "fields"),
    [
        ("ConversationResponse", "conversation_id chat_history"),
        (
            "ConversationTurn",
            "messages tool_calls tool_results provider model started_at completed_at",
        ),
        ("Message", "content type referenced_documents"),
        (
            "ConversationDetails",
            "conversation_id created_at last_message_at message_count last_used_model last_used_provider "
            "topic_summary",
        ),
        ("ConversationData", "conversation_id topic_summary last_message_timestamp"),
        ("ConversationDeleteResponse", "deleted conversation_id response success"),
        ("ConversationUpdateRequest", "topic_summary"),
        ("ConversationUpdateResponse", "conversation_id success message"),
    ],
)
async def test_shapes_of_conversations_are_described(service: Service, schema: str, fields: str) -> None:
    schemas = (await service.client.get("/openapi.json")).json()["components"]["schemas"]
    assert list(schemas[schema]["properties"]) == fields.split()
    assert set(schemas[schema]["required"]) >= set(fields.split()) - {"referenced_documents"}


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
        ({"sentiment": 0}, "Value error, Improper sentiment value of 0, needs to be -1 or 1"),
        ({"sentiment": 1, "colour": "red"}, "Extra inputs are not permitted"),
        ({"categories": ["helpful"]}, None),
        (
            {"user_feedback": "", "categories": []},
            "Value error, At least one form of feedback must be provided: 'sentiment', 'user_feedback', "
            "or 'categories'",
        ),
    ],
)
async def test_feedback_that_says_nothing_is_refused(
    service: Service, fields: dict[str, Any], message: str | None
) -> None:
    answer = await service.client.post("/v1/feedback", json={**feedback("0" * 48), **fields})
    assert answer.status_code == 422
    assert message is None or answer.json()["detail"][0]["msg"] == message


@pytest.mark.parametrize("sentiment", ["1", 1.0, True])
async def test_feedback_is_taken_as_it_is_meant(service: Service, sentiment: Any) -> None:
    conversation = (await service.client.post("/v1/query", json={"query": ""})).json()["conversation_id"]
    fields = {"user_question": "", "llm_response": "", "sentiment": sentiment, "categories": []}
    answer = await service.client.post("/v1/feedback", json=feedback(conversation, **fields))
    assert answer.status_code == 200
    (file,) = list((service.state / "feedback").glob("*.json"))
    stored = json.loads(file.read_text())
    assert (stored["sentiment"], stored["categories"]) == (1, None)
    file.unlink()


async def test_feedback_that_cannot_be_written_is_told(service: Service) -> None:
    conversation = (await service.client.post("/v1/query", json={"query": "q"})).json()["conversation_id"]
    folder = service.state / "feedback"
    if folder.exists():
        folder.rename(service.state / "elsewhere")
    folder.write_text("in the way")
    answer = await service.client.post("/v1/feedback", json=feedback(conversation, sentiment=1))
    folder.unlink()
    assert answer.status_code == 500
    assert answer.json()["detail"] == {
        "response": "Failed to store feedback",
        "cause": f"Failed to store feedback at directory: {folder}",
    }


async def test_feedback_on_unknown_and_foreign_conversations(service: Service) -> None:
    answer = await service.client.post("/v1/feedback", json=feedback("0" * 48, sentiment=1))
    assert answer.status_code == 404
    conversation = (await service.client.post("/v1/query", json={"query": "q"})).json()["conversation_id"]
    answer = await service.client.post("/v1/feedback?user_id=guest", json=feedback(conversation, sentiment=1))
    assert answer.status_code == 403
    assert "submit feedback for" in answer.json()["detail"]["cause"]


async def test_feedback_on_a_conversation_in_any_spelling_of_its_id(service: Service) -> None:
    conversation = (await service.client.post("/v1/query", json={"query": "q"})).json()["conversation_id"]
    for spelling in (f"conv_{conversation}", conversation.upper()):
        answer = await service.client.post("/v1/feedback", json=feedback(spelling, sentiment=1))
        assert answer.json() == {"response": "feedback received"}
    for file in (service.state / "feedback").glob("*.json"):
        assert json.loads(file.read_text())["conversation_id"] == conversation
        file.unlink()


async def test_feedback_status_is_public_and_only_an_administrator_changes_it(service: Service) -> None:
    path = "/v1/feedback/status"
    expected = {"functionality": "feedback", "status": {"enabled": True}}
    assert (await service.client.get(path)).json() == expected
    assert (await service.client.put(path, json={"status": False})).status_code == 403
    assert (await service.client.get(path)).json() == expected


async def test_an_administrator_switches_feedback_off_and_on(service: Service) -> None:
    path = "/v1/feedback/status"
    for status, previous in ((False, True), (False, False), (True, False)):
        change = (await service.user(ROOT).put(path, json={"status": status})).json()["status"]
        assert datetime.fromisoformat(change.pop("timestamp")).utcoffset() == timedelta(0)
        assert change == {"previous_status": previous, "updated_status": status, "updated_by": ROOT}
        assert (await service.client.get(path)).json()["status"] == {"enabled": status}
        answer = await service.client.post("/v1/feedback", json={"not": "even looked at"})
        if status:
            assert answer.status_code == 422
        else:
            assert answer.status_code == 403
            assert answer.json()["detail"] == {
                "response": "Storing feedback is disabled",
                "cause": "Storing feedback is disabled.",
            }


@pytest.mark.parametrize(
    ("body", "location", "message"),
    [
        ({}, ["body", "status"], "Field required"),
        ({"status": "perhaps"}, ["body", "status"], None),
        ({"status": None}, ["body", "status"], "Input should be a valid boolean"),
        ({"status": True, "more": 1}, ["body", "more"], "Extra inputs are not permitted"),
    ],
)
async def test_a_switch_needs_a_position(
    service: Service, body: dict[str, Any], location: list[str], message: str | None
) -> None:
    answer = await service.user(ROOT).put("/v1/feedback/status", json=body)
    assert answer.status_code == 422
    (error,) = answer.json()["detail"]
    assert error["loc"] == location
    assert message is None or error["msg"] == message
    assert (await service.client.get("/v1/feedback/status")).json()["status"] == {"enabled": True}
