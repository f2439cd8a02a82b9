"""POST /v1/query on the wire."""

import json
from pathlib import Path
from typing import Any

import anyio
import pytest
from anyio import to_thread

from tests.api.conftest import BOUND, NOBODY, ROOT, Service, running
from tests.scripted_model import ApiError, Reply, ScriptedModel, ToolCall, Usage, context_length_exceeded

pytestmark = pytest.mark.anyio


async def post(service: Service, **body: Any) -> Any:
    return await service.client.post("/v1/query", json=body)


async def test_the_answer_has_all_fields_of_the_contract(service: Service) -> None:
    service.model.queue(Reply(" Two nodes. ", usage=Usage(40, 3)))
    answer = await post(service, query="How many nodes?")
    assert answer.status_code == 200
    body = answer.json()
    assert len(body.pop("conversation_id")) == 48
    assert body == {
        "response": "Two nodes.",
        "rag_chunks": [],
        "referenced_documents": [],
        "truncated": False,
        "input_tokens": 40,
        "output_tokens": 3,
        "available_quotas": {},
        "tool_calls": [],
        "tool_results": [],
    }
    assert answer.headers["x-request-id"]


async def test_a_conversation_continues_in_every_spelling_of_its_id(service: Service) -> None:
    first = (await post(service, query="one")).json()["conversation_id"]
    for spelling in (first, f"conv_{first}", first.upper()):
        answer = await post(service, query="more", conversation_id=spelling)
        assert answer.json()["conversation_id"] == first


@pytest.mark.parametrize(
    ("body", "location", "message"),
    [
        ({}, ["body", "query"], "Field required"),
        ({"query": 7}, ["body", "query"], "Input should be a valid string"),
        ({"query": "x", "colour": "red"}, ["body", "colour"], "Extra inputs are not permitted"),
        (
            {"query": "x", "conversation_id": "abc"},
            ["body", "conversation_id"],
            "Value error, Improper conversation ID 'abc'",
        ),
        (
            {"query": "x", "provider": "p"},
            ["body"],
            "Value error, Model must be specified if provider is specified",
        ),
        (
            {"query": "x", "model": "m"},
            ["body"],
            "Value error, Provider must be specified if model is specified",
        ),
        (
            {"query": "x", "media_type": "image/png"},
            ["body", "media_type"],
            "Value error, media_type must be either 'application/json' or 'text/plain'",
        ),
        (
            {"query": "x", "attachments": [{"attachment_type": "log", "content": "x"}]},
            ["body", "attachments", 0, "content_type"],
            "Field required",
        ),
        ({"query": "x", "solr": {"mode": "fast"}}, ["body", "solr", "mode"], None),
        (
            {"query": "x", "solr": {"mode": "hybrid", "fq": []}},
            ["body", "solr", "fq"],
            "Extra inputs are not permitted",
        ),
    ],
)
async def test_a_wrong_form_is_told_with_its_place(
    service: Service, body: dict[str, Any], location: list[Any], message: str | None
) -> None:
    answer = await service.client.post("/v1/query", json=body)
    assert answer.status_code == 422
    (error,) = answer.json()["detail"]
    assert error["loc"] == location
    assert message is None or error["msg"] == message


async def test_the_old_form_of_solr_is_taken_with_a_warning(
    service: Service, caplog: pytest.LogCaptureFixture
) -> None:
    for solr, warnings in (({"filters": {"fq": "a:b"}}, 0), ({"fq": "a:b"}, 1)):
        assert (await post(service, query="x", solr=solr)).status_code == 200
        assert caplog.text.count("`solr` in its old form") == warnings
    refused = await post(service, query="x", solr={"shards": "n1"})
    assert refused.status_code == 400
    assert "'shards' is not accepted" in refused.json()["detail"]["cause"]


async def test_malformed_json_is_told(service: Service) -> None:
    answer = await service.client.post(
        "/v1/query", content=b'{"query": ', headers={"content-type": "application/json"}
    )
    assert answer.status_code == 422
    (error,) = answer.json()["detail"]
    assert (error["type"], error["msg"]) == ("json_invalid", "JSON decode error")


@pytest.mark.parametrize(
    ("attachment", "cause"),
    [
        (
            {"attachment_type": "song", "content_type": "text/plain", "content": "la"},
            "Invalid attachment type song: must be one of alert, api object, configuration, error message, "
            "event, log, stack trace",
        ),
        (
            {"attachment_type": "log", "content_type": "image/png", "content": "la"},
            "Invalid attachment content type image/png: must be one of text/plain, application/json, "
            "application/yaml, application/xml",
        ),
    ],
)
async def test_unknown_kinds_of_attachments_are_refused(
    service: Service, attachment: dict[str, str], cause: str
) -> None:
    answer = await post(service, query="x", attachments=[attachment])
    assert answer.status_code == 422
    assert answer.json() == {"detail": {"response": "Invalid attribute value", "cause": cause}}


async def test_attachments_reach_the_model(service: Service) -> None:
    await post(
        service,
        query="Why?",
        attachments=[{"attachment_type": "log", "content_type": "text/plain", "content": "node-1 down"}],
    )
    message = service.questions[-1]["messages"][-1]["content"]
    assert message == "Why?\n\n[Attachment: log]\nnode-1 down"


async def test_an_unknown_model_provider_conversation_or_shield_is_not_found(service: Service) -> None:
    cases: list[tuple[dict[str, Any], str, str]] = [
        (
            {"provider": "scripted", "model": "m9"},
            "Model not found",
            "Model with ID m9 does not exist",
        ),
        (
            {"provider": "nobody", "model": "m9"},
            "Provider not found",
            "Provider with ID nobody does not exist",
        ),
        (
            {"conversation_id": "0" * 48},
            "Conversation not found",
            f"Conversation with ID {'0' * 48} does not exist",
        ),
        ({"shield_ids": ["s1"]}, "Shield not found", "Shield with ID s1 does not exist"),
        ({"shield_ids": ["s1", "s2"]}, "Shields not found", "Shields with ID s1, s2 does not exist"),
    ]
    for body, response, cause in cases:
        answer = await post(service, query="x", **body)
        assert answer.status_code == 404
        assert answer.json() == {"detail": {"response": response, "cause": cause}}


async def test_an_empty_list_of_shields_is_no_error(service: Service) -> None:
    assert (await post(service, query="x", shield_ids=[])).status_code == 200


async def test_errors_of_the_provider_have_their_status_and_cause(service: Service) -> None:
    service.model.queue(Reply(error=context_length_exceeded()))
    answer = await post(service, query="x")
    assert answer.status_code == 413
    assert answer.json()["detail"] == {
        "response": "Prompt is too long",
        "cause": "The input exceeds the context window size of model 'scripted/scripted'.",
    }
    quota = ApiError(
        429,
        "slow down",
        "requests",
        "rate_limit_exceeded",
        headers={"retry-after": "7", "x-should-retry": "false"},
    )
    service.model.queue(Reply(error=quota))
    answer = await post(service, query="x")
    assert answer.status_code == 429
    assert answer.headers["retry-after"] == "7"
    assert answer.json()["detail"]["response"] == "The model quota has been exceeded"
    service.model.queue(Reply(error=ApiError(400, "unknown field", "invalid_request_error")))
    answer = await post(service, query="x")
    assert answer.status_code == 502
    assert "unknown field" in answer.json()["detail"]["cause"]


async def test_a_stream_that_breaks_in_an_answer_that_is_not_streamed_is_an_error(service: Service) -> None:
    service.model.queue(Reply("one two", cut_at=1), times=3)
    answer = await post(service, query="x")
    assert answer.status_code in (502, 503)


async def test_the_query_may_be_empty(service: Service) -> None:
    assert (await post(service, query="")).status_code == 200


@pytest.mark.parametrize("path", ["/v1/query", "/v1/streaming_query"])
async def test_each_face_asks_for_its_action(service: Service, path: str) -> None:
    answer = await service.user(NOBODY).post(path, json={"query": "x"})
    assert answer.status_code == 403
    assert answer.json()["detail"] == {
        "response": "User does not have permission to access this endpoint",
        "cause": f"User {NOBODY} is not authorized to access this endpoint.",
    }


@pytest.mark.parametrize("path", ["/v1/query", "/v1/streaming_query"])
async def test_a_model_is_chosen_with_the_right_only_before_anything_else_is_looked_at(
    service: Service, path: str
) -> None:
    chosen = {"query": "x", "provider": "scripted", "model": "scripted"}
    for body in (
        chosen,
        chosen | {"shield_ids": ["s1"]},
        chosen | {"attachments": [{"attachment_type": "song", "content_type": "x", "content": ""}]},
        chosen | {"conversation_id": "0" * 48},
        {"query": "x", "provider": ""},
    ):
        answer = await service.user(BOUND).post(path, json=body)
        assert answer.status_code == 403, body
        assert answer.json()["detail"] == {
            "response": "This instance does not permit overriding model/provider in the query request (missing "
            "permission: model_override). Please remove the model and provider fields from your request.",
            "cause": "User lacks model_override permission required to override model/provider.",
        }
    for body in ({"query": "x"}, {"query": "x", "provider": None, "model": None}):
        assert (await service.user(BOUND).post(path, json=body)).status_code == 200
    assert (await service.user(ROOT).post(path, json=chosen)).status_code == 200


@pytest.mark.parametrize(("wanted", "topic"), [(True, "Scripted topic"), (False, None), (None, None)])
async def test_a_new_conversation_is_named_if_that_is_wanted(
    service: Service, wanted: bool | None, topic: str | None
) -> None:
    namer = service.user(f"namer-{wanted}")
    body = {"query": "x", "generate_topic_summary": wanted}
    assert (await namer.post("/v1/query", json=body)).status_code == 200
    with anyio.fail_after(30):
        while True:
            (entry,) = (await namer.get("/v2/conversations")).json()["conversations"]
            if entry["topic_summary"] == topic:
                break
            await anyio.sleep(0.01)


async def test_customizing_can_be_switched_off(tmp_path: Path) -> None:
    customization = {"disable_query_system_prompt": True, "disable_shield_ids_override": True}
    with ScriptedModel() as model:
        async with running(tmp_path, model, customization=customization) as service:
            prompt = await post(service, query="x", system_prompt="Be brief.")
            shields = await post(service, query="x", shield_ids=[])
            plain = await post(service, query="x", system_prompt="", shield_ids=None)
    assert prompt.status_code == shields.status_code == 422
    assert prompt.json()["detail"] == {
        "response": "System prompt customization is disabled",
        "cause": "This instance does not support customizing the system prompt (disable_query_system_prompt is set). "
        "Please remove the system_prompt field from your request.",
    }
    assert shields.json()["detail"] == {
        "response": "Shield IDs customization is disabled",
        "cause": "This instance does not support customizing shield IDs in the query request "
        "(disable_shield_ids_override is set). Please remove the shield_ids field from your request.",
    }
    assert plain.status_code == 200


async def test_a_provider_that_is_down_is_told_and_comes_back(service: Service) -> None:
    await to_thread.run_sync(service.model.stop)
    for path in ("/v1/query", "/v1/streaming_query"):
        answer = await service.client.post(path, json={"query": "x"})
        assert answer.status_code == 503
        assert answer.json()["detail"]["response"] == "Unable to connect to Llama Stack"
    service.model.start()
    assert (await post(service, query="x")).status_code == 200


async def test_an_empty_user_is_refused(service: Service) -> None:
    assert (await service.client.post("/v1/query?user_id=", json={"query": "x"})).status_code == 400


async def test_limits_are_told(service: Service) -> None:
    answer = await post(service, query="x" * 200_001)
    assert answer.status_code == 413
    assert answer.json()["detail"]["cause"] == "The query has more than 200000 characters."
    attachment = {"attachment_type": "log", "content_type": "text/plain", "content": ""}
    answer = await post(service, query="x", attachments=[attachment] * 21)
    assert answer.status_code == 413
    answer = await post(service, query="x", attachments=[attachment | {"content": "x" * 2_000_001}])
    assert answer.status_code == 413
    answer = await service.client.post("/v1/query", content=b" " * (20 * 1024 * 1024 + 1))
    assert answer.status_code == 413


async def test_tool_calls_of_the_model_are_told(service: Service) -> None:
    service.model.queue(Reply(tool_calls=[ToolCall("fly", {"to": "moon"}, id="c1")]))
    service.model.queue(Reply("I cannot fly."))
    body = (await post(service, query="Fly!")).json()
    assert body["tool_calls"] == [
        {"id": "c1", "name": "fly", "args": {"to": "moon"}, "type": "function_call"}
    ]
    assert body["tool_results"][0]["status"] == "failure"
    assert json.dumps(body)
