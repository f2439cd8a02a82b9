"""A dialogue through both versions of the API, on both databases."""

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.postgresql import Postgresql
from tests.scripted_model import Reply, ScriptedModel, ToolCall, Usage
from tests.service.conftest import RunningService, configuration_files, serving


@pytest.fixture(params=["sqlite", "postgresql"])
def service(request: pytest.FixtureRequest, tmp_path: Path, model: ScriptedModel) -> Iterator[RunningService]:
    """A service that keeps everything in one database of either kind."""
    state = tmp_path / "state"
    if request.param == "sqlite":
        place: dict[str, Any] = {"sqlite": {"db_path": str(state / "lightspeed.db")}}
    else:
        server: Postgresql = request.getfixturevalue("postgresql")
        place = {"postgres": server.configuration(server.new_database(), namespace="Assistant data")}
    cache = {"type": next(iter(place)), **place}
    file = configuration_files(tmp_path, state, model, database=place, conversation_cache=cache)
    with serving(tmp_path, "-c", str(file), state=state) as service:
        yield service


def get(service: RunningService, path: str) -> Any:
    answer = service.client.get(path)
    assert answer.status_code == 200, answer.text
    return answer.json()


def topic(service: RunningService, conversation_id: str) -> str:
    """The name that the model gives a moment after the first answer."""
    deadline = time.monotonic() + 20
    while True:
        [found] = [
            entry
            for entry in get(service, "/v2/conversations")["conversations"]
            if entry["conversation_id"] == conversation_id
        ]
        if found["topic_summary"]:
            return str(found["topic_summary"])
        assert time.monotonic() < deadline, service.log
        time.sleep(0.02)


def test_a_dialogue_from_the_first_question_to_its_deletion(
    service: RunningService, model: ScriptedModel
) -> None:
    model.queue(Reply("Two nodes.", usage=Usage(40, 3)))
    log = {"attachment_type": "log", "content_type": "text/plain", "content": "node n1 ready"}
    first = service.query("How many nodes?", attachments=[log]).json()
    conversation_id = first["conversation_id"]
    assert topic(service, conversation_id) == "Scripted topic"

    # Any form of the id continues it, and the model is told what was said before.
    model.queue(Reply(tool_calls=[ToolCall("list_nodes", {"zone": "a"}, id="c1")]))
    model.queue(Reply("n1 and n2."))
    events = service.events("Which?", conversation_id=f"conv_{conversation_id}")
    assert events[0]["data"]["conversation_id"] == conversation_id
    assert [event["event"] for event in events][-2:] == ["turn_complete", "end"]
    told = model.chats[-1].body["messages"]
    assert [message["role"] for message in told] == [
        "system",
        "user",
        "assistant",
        "user",
        "assistant",
        "tool",
    ]
    assert "node n1 ready" in told[1]["content"]
    assert told[2]["content"] == "Two nodes."

    other = service.query("Something else").json()["conversation_id"]

    listed = get(service, "/v1/conversations")["conversations"]
    assert [entry["conversation_id"] for entry in listed] == [other, conversation_id]
    assert listed[1]["message_count"] == 2
    assert (listed[1]["last_used_provider"], listed[1]["last_used_model"]) == ("scripted", "scripted")
    assert listed[1]["created_at"].endswith("Z")
    assert [
        entry["conversation_id"] for entry in get(service, "/v1/conversations?limit=1")["conversations"]
    ] == [other]
    found = get(service, f"/v2/conversations?search=N1+AND&after={other}")["conversations"]
    assert [entry["conversation_id"] for entry in found] == [conversation_id]

    old = get(service, f"/v1/conversations/{conversation_id.upper()}")
    new = get(service, f"/v2/conversations/conv_{conversation_id}")
    assert old["conversation_id"] == new["conversation_id"] == conversation_id
    assert [message["content"] for message in old["chat_history"][0]["messages"]] == [
        "How many nodes?\n\n[Attachment: log]\nnode n1 ready",
        "Two nodes.",
    ]
    assert [message["content"] for message in new["chat_history"][0]["messages"]] == [
        "How many nodes?",
        "Two nodes.",
    ]
    for body in (old, new):
        second = body["chat_history"][1]
        assert [message["type"] for message in second["messages"]] == ["user", "assistant"]
        assert second["tool_calls"] == [
            {"id": "c1", "name": "list_nodes", "args": {"zone": "a"}, "type": "function_call"}
        ]
        assert [result["id"] for result in second["tool_results"]] == ["c1"]
        assert second["started_at"] <= second["completed_at"]

    # What one version changes, the other shows.
    renamed = service.client.put(f"/v1/conversations/{conversation_id}", json={"topic_summary": "Nodes"})
    assert renamed.json() == {
        "conversation_id": conversation_id,
        "success": True,
        "message": "Topic summary updated successfully",
    }
    assert topic(service, conversation_id) == "Nodes"
    service.client.put(f"/v2/conversations/{conversation_id}", json={"topic_summary": "Über nodes"})
    newest = get(service, "/v1/conversations")["conversations"][0]
    assert (newest["conversation_id"], newest["topic_summary"]) == (conversation_id, "Über nodes")

    feedback = {"conversation_id": conversation_id, "user_question": "q", "llm_response": "r", "sentiment": 1}
    assert service.client.post("/v1/feedback", json=feedback).status_code == 200
    assert kept_of(service, conversation_id)

    deleted = service.client.delete(f"/v2/conversations/{conversation_id}")
    assert deleted.json() == {
        "conversation_id": conversation_id,
        "deleted": True,
        "response": "Conversation deleted successfully",
        "success": True,
    }
    for version in ("v1", "v2"):
        assert service.client.get(f"/{version}/conversations/{conversation_id}").status_code == 404
        again = service.client.delete(f"/{version}/conversations/{conversation_id}").json()
        assert (again["deleted"], again["response"]) == (False, "Conversation not found")
        left = get(service, f"/{version}/conversations")["conversations"]
        assert [entry["conversation_id"] for entry in left] == [other]
    assert service.query("And?", conversation_id=conversation_id).status_code == 404
    assert kept_of(service, conversation_id) == []
    assert kept_of(service, other)


def kept_of(service: RunningService, conversation_id: str) -> list[str]:
    """The files that tell of a conversation."""
    return [path.name for path in service.state.rglob("*.json") if conversation_id in path.read_text()]
