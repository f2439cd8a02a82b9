"""Whose conversations one may see, and what an access rule adds to that."""

from typing import Any

import pytest

from tests.api.conftest import NOBODY, ROOT, Service
from tests.api.conversations import at, conversation

pytestmark = pytest.mark.anyio

BODY = {"GET": None, "PUT": {"topic_summary": "mine now"}, "DELETE": None}


async def request(service: Service, user: str, method: str, path: str) -> Any:
    return await service.user(user).request(method, path, json=BODY[method])


@pytest.mark.parametrize(("method", "verb"), [("GET", "read"), ("PUT", "update"), ("DELETE", "delete")])
async def test_version_1_refuses_what_is_somebody_elses(service: Service, method: str, verb: str) -> None:
    theirs = await conversation(service, "anna")
    answer = await request(service, "guest", method, f"/v1/conversations/{theirs}")
    assert answer.status_code == 403
    assert answer.json()["detail"] == {
        "response": "User does not have permission to perform this action",
        "cause": f"User guest does not have permission to {verb} conversation with ID {theirs}",
    }
    assert (await request(service, "anna", "GET", f"/v1/conversations/{theirs}")).status_code == 200


@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE"])
async def test_version_1_grants_it_with_the_right(service: Service, method: str) -> None:
    theirs = await conversation(service, "anna")
    answer = await request(service, ROOT, method, f"/v1/conversations/{theirs}")
    assert answer.status_code == 200
    assert answer.json()["conversation_id"] == theirs
    left = await request(service, "anna", "GET", f"/v1/conversations/{theirs}")
    assert left.status_code == (404 if method == "DELETE" else 200)


@pytest.mark.parametrize("user", ["guest", ROOT])
async def test_version_2_does_not_know_what_is_somebody_elses(service: Service, user: str) -> None:
    theirs = await conversation(service, "anna")
    path = f"/v2/conversations/{theirs}"
    for method in ("GET", "PUT"):
        answer = await request(service, user, method, path)
        assert answer.status_code == 404
        assert answer.json()["detail"]["cause"] == f"Conversation with ID {theirs} does not exist"
    answer = await request(service, user, "DELETE", path)
    assert (answer.status_code, answer.json()["deleted"], answer.json()["success"]) == (200, False, False)
    assert (await request(service, "anna", "GET", path)).status_code == 200


async def test_lists_hold_ones_own_unless_there_is_a_right_to_more(service: Service) -> None:
    mine = await conversation(service, "first", completed_at=at(101))
    theirs = await conversation(service, "second", completed_at=at(102))

    async def listed(version: str, user: str) -> list[str]:
        answer = await request(service, user, "GET", f"/{version}/conversations?limit=2")
        return [entry["conversation_id"] for entry in answer.json()["conversations"]]

    assert await listed("v1", "first") == [mine]
    assert await listed("v2", "first") == [mine]
    assert await listed("v1", ROOT) == [theirs, mine]
    assert await listed("v2", ROOT) == []
    after = await request(service, ROOT, "GET", f"/v1/conversations?limit=1&after={theirs}")
    assert [entry["conversation_id"] for entry in after.json()["conversations"]] == [mine]


async def test_somebody_elses_conversation_is_continued_with_the_right_only(service: Service) -> None:
    theirs = await conversation(service, "anna", query="How many?", answer="Two.")
    body = {"query": "And now?", "conversation_id": theirs}
    for path in ("/v1/query", "/v1/streaming_query"):
        refused = await service.user("guest").post(path, json=body)
        assert refused.status_code == 403
        assert refused.json()["detail"] == {
            "response": "User does not have permission to perform this action",
            "cause": f"User guest does not have permission to read conversation with ID {theirs}",
        }
        assert (await service.user(ROOT).post(path, json=body)).status_code == 200
    history = (await request(service, "anna", "GET", f"/v2/conversations/{theirs}")).json()["chat_history"]
    assert [turn["messages"][0]["content"] for turn in history] == ["How many?", "And now?", "And now?"]


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/v1/conversations"),
        ("GET", "/v1/conversations/abc"),
        ("PUT", "/v1/conversations/abc"),
        ("DELETE", "/v1/conversations/abc"),
        ("GET", "/v2/conversations"),
        ("GET", "/v2/conversations/abc"),
        ("PUT", "/v2/conversations/abc"),
        ("DELETE", "/v2/conversations/abc"),
    ],
)
async def test_each_route_asks_for_its_action_before_it_looks_at_the_id(
    service: Service, method: str, path: str
) -> None:
    answer = await request(service, NOBODY, method, path)
    assert answer.status_code == 403
    assert answer.json()["detail"] == {
        "response": "User does not have permission to access this endpoint",
        "cause": f"User {NOBODY} is not authorized to access this endpoint.",
    }
