"""Reading, renaming and deleting a conversation through both versions of the API."""

from datetime import datetime
from typing import Any

import pytest

from tests.api.conftest import Service, stored
from tests.api.conversations import at, conversation
from tests.scripted_model import Reply, ToolCall

pytestmark = pytest.mark.anyio

both = pytest.mark.parametrize("version", ["v1", "v2"])
DOCUMENT = {"doc_url": "https://example.com/a", "doc_title": "A", "source": "docs", "document_id": None}


async def read(service: Service, version: str, conversation_id: str, user: str = "alice") -> Any:
    answer = await service.user(user).get(f"/{version}/conversations/{conversation_id}")
    assert answer.status_code == 200, answer.text
    return answer.json()


async def test_a_history_has_the_shape_of_the_contract(service: Service) -> None:
    conversation_id = await conversation(service, "alice")
    turn = {
        "messages": [
            {
                "content": "List nodes\n\n[Attachment: log]\nline",
                "type": "user",
                "referenced_documents": None,
            },
            {"content": "Two nodes", "type": "assistant", "referenced_documents": [DOCUMENT]},
        ],
        "tool_calls": [{"id": "c1", "name": "list_nodes", "args": {"zone": "a"}, "type": "mcp_call"}],
        "tool_results": [{"id": "c1", "status": "success", "content": "n1", "type": "mcp_call", "round": 1}],
        "provider": "acme",
        "model": "m1",
        "started_at": "2030-01-02T03:04:05Z",
        "completed_at": "2030-01-02T03:04:09.123456Z",
    }
    expected = {"conversation_id": conversation_id, "chat_history": [turn]}
    assert await read(service, "v1", conversation_id) == expected
    turn["messages"][0]["content"] = "List nodes"
    assert await read(service, "v2", conversation_id) == expected


async def test_turns_come_oldest_first_with_what_became_of_them(service: Service) -> None:
    conversation_id = await conversation(
        service,
        "alice",
        {"query": "one", "answer": "1"},
        {"query": "two", "answer": "", "status": "interrupted"},
        {"query": "three", "answer": "thr", "status": "interrupted"},
        {"query": "four", "answer": "", "status": "failed", "error": {"status_code": 503}},
        {"query": "five", "answer": "fi", "status": "failed", "error": {"status_code": 503}},
        attachments=[],
        referenced_documents=[],
        tool_calls=[],
        tool_results=[],
    )
    for version in ("v1", "v2"):
        history = (await read(service, version, conversation_id))["chat_history"]
        assert [[message["content"] for message in turn["messages"]] for turn in history] == [
            ["one", "1"],
            ["two", "You interrupted this request."],
            ["three", "thr"],
            ["four", ""],
            ["five", "fi"],
        ]
        assert history[0]["messages"][1]["referenced_documents"] is None
        assert (history[0]["tool_calls"], history[0]["tool_results"]) == ([], [])


async def test_a_question_that_was_asked_is_read_through_both_versions(service: Service) -> None:
    service.model.queue(Reply(tool_calls=[ToolCall("fly", {"to": "moon"}, id="c1")]))
    service.model.queue(Reply("I cannot fly."))
    alice = service.user("asker")
    log = {"attachment_type": "log", "content_type": "text/plain", "content": "no wings"}
    asked = await alice.post("/v1/query", json={"query": "Fly!", "attachments": [log]})
    conversation_id = asked.json()["conversation_id"]
    (old,) = (await read(service, "v1", conversation_id, "asker"))["chat_history"]
    (new,) = (await read(service, "v2", conversation_id, "asker"))["chat_history"]
    assert [message["content"] for message in old["messages"]] == [
        "Fly!\n\n[Attachment: log]\nno wings",
        "I cannot fly.",
    ]
    assert old["messages"][0]["content"] == service.questions[-1]["messages"][1]["content"]
    assert [message["content"] for message in new["messages"]] == ["Fly!", "I cannot fly."]
    for turn in (old, new):
        assert turn["tool_calls"] == asked.json()["tool_calls"]
        assert turn["tool_results"] == asked.json()["tool_results"]
        assert (turn["provider"], turn["model"]) == ("scripted", "scripted")
        assert datetime.fromisoformat(turn["started_at"]) <= datetime.fromisoformat(turn["completed_at"])


async def test_turns_of_which_nothing_was_kept_are_left_out(service: Service) -> None:
    nothing: dict[str, Any] = dict.fromkeys(("query", "answer"), "")
    nothing |= {name: [] for name in ("attachments", "tool_calls", "tool_results", "referenced_documents")}
    some = await conversation(service, "alice", nothing, {"query": "kept"})
    none = await conversation(service, "alice", nothing)
    for version in ("v1", "v2"):
        (turn,) = (await read(service, version, some))["chat_history"]
        assert "kept" in turn["messages"][0]["content"]
        answer = await service.user("alice").get(f"/{version}/conversations/{none}")
        assert answer.status_code == 404


@both
async def test_a_conversation_is_renamed(service: Service, version: str) -> None:
    user = f"renamer-{version}"
    older = await conversation(service, user, completed_at=at(1))
    newer = await conversation(service, user, completed_at=at(2))
    alice = service.user(user)
    answer = await alice.put(f"/{version}/conversations/{older}", json={"topic_summary": "Über nodes"})
    assert answer.status_code == 200
    assert answer.json() == {
        "conversation_id": older,
        "success": True,
        "message": "Topic summary updated successfully",
    }
    listed = {
        api: [
            (entry["conversation_id"], entry["topic_summary"])
            for entry in (await alice.get(f"/{api}/conversations")).json()["conversations"]
        ]
        for api in ("v1", "v2")
    }
    # Version 2 makes it the one that was touched last; 2030 has not come yet.
    assert listed == {
        "v1": [(newer, ""), (older, "Über nodes")],
        "v2": [(newer, None), (older, "Über nodes")],
    }
    async with stored(service) as conversations:
        found = await conversations.get(older)
        assert found is not None
        assert (found.last_message_at == at(1)) == (version == "v1")


@both
@pytest.mark.parametrize(
    ("body", "location", "message"),
    [
        ({}, "topic_summary", "Field required"),
        ({"topic_summary": ""}, "topic_summary", "String should have at least 1 character"),
        ({"topic_summary": "x" * 1001}, "topic_summary", "String should have at most 1000 characters"),
        ({"topic_summary": None}, "topic_summary", "Input should be a valid string"),
        ({"topic_summary": "x", "colour": "red"}, "colour", "Extra inputs are not permitted"),
    ],
)
async def test_a_name_of_the_wrong_form_is_refused(
    service: Service, version: str, body: dict[str, Any], location: str, message: str
) -> None:
    answer = await service.client.put(f"/{version}/conversations/{'0' * 48}", json=body)
    assert answer.status_code == 422
    (error,) = answer.json()["detail"]
    assert (error["loc"], error["msg"]) == (["body", location], message)


@both
@pytest.mark.parametrize("name", ["x", "x" * 1000, "\x00 and \u2028", "'; DROP TABLE", "🤖"])
async def test_odd_names_are_kept(service: Service, version: str, name: str) -> None:
    user = f"namer-{version}"
    conversation_id = await conversation(service, user)
    alice = service.user(user)
    answer = await alice.put(f"/{version}/conversations/{conversation_id}", json={"topic_summary": name})
    assert answer.status_code == 200
    listed = (await alice.get(f"/{version}/conversations")).json()["conversations"]
    names = {entry["conversation_id"]: entry["topic_summary"] for entry in listed}
    assert names[conversation_id] == name.replace("\x00", "\ufffd")


@both
async def test_deleting_removes_everything_through_both_versions(service: Service, version: str) -> None:
    user = f"deleter-{version}"
    alice = service.user(user)
    conversation_id = (await alice.post("/v1/query", json={"query": "Keep this."})).json()["conversation_id"]
    feedback = {"conversation_id": conversation_id, "user_question": "q", "llm_response": "a", "sentiment": 1}
    assert (await alice.post("/v1/feedback", json=feedback)).status_code == 200
    other = await conversation(service, user)
    assert files_about(service, conversation_id)

    answer = await alice.delete(f"/{version}/conversations/{conversation_id}")
    assert answer.status_code == 200
    assert answer.json() == {
        "deleted": True,
        "conversation_id": conversation_id,
        "response": "Conversation deleted successfully",
        "success": True,
    }
    for api in ("v1", "v2"):
        assert (await alice.get(f"/{api}/conversations/{conversation_id}")).status_code == 404
        again = await alice.delete(f"/{api}/conversations/{conversation_id}")
        assert (again.status_code, again.json()) == (
            200,
            {
                "deleted": False,
                "conversation_id": conversation_id,
                "response": "Conversation not found",
                "success": False,
            },
        )
        left = (await alice.get(f"/{api}/conversations")).json()["conversations"]
        assert [entry["conversation_id"] for entry in left] == [other]
    continued = await alice.post("/v1/query", json={"query": "x", "conversation_id": conversation_id})
    assert continued.status_code == 404
    assert files_about(service, conversation_id) == []
    async with stored(service) as conversations:
        assert await conversations.turns(conversation_id) == []


def files_about(service: Service, conversation_id: str) -> list[str]:
    return [path.name for path in service.state.rglob("*.json") if conversation_id in path.read_text()]


@both
@pytest.mark.parametrize("method", ["GET", "PUT"])
async def test_unknown_conversations_are_not_found(service: Service, version: str, method: str) -> None:
    answer = await service.client.request(
        method,
        f"/{version}/conversations/{'0' * 48}",
        json={"topic_summary": "x"} if method == "PUT" else None,
    )
    assert answer.status_code == 404
    assert answer.json()["detail"] == {
        "response": "Conversation not found",
        "cause": f"Conversation with ID {'0' * 48} does not exist",
    }
