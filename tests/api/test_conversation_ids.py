"""Every spelling of an id means the same on every route, and no odd one is a fault."""

from typing import Any
from urllib.parse import quote
from uuid import uuid4

import pytest

from lightspeed.storage.identifiers import new_conversation_id
from tests.api.conftest import ROOT, Service
from tests.api.conversations import conversation

pytestmark = pytest.mark.anyio

ROUTES = [
    ("GET", "/v1/conversations/{}", None),
    ("PUT", "/v1/conversations/{}", {"topic_summary": "x"}),
    ("DELETE", "/v1/conversations/{}", None),
    ("GET", "/v2/conversations/{}", None),
    ("PUT", "/v2/conversations/{}", {"topic_summary": "x"}),
    ("DELETE", "/v2/conversations/{}", None),
]


def native() -> tuple[str, list[str]]:
    stored = new_conversation_id()
    return stored, [stored, f"conv_{stored}", stored.upper(), f"CONV_{stored.upper()}"]


def uuid() -> tuple[str, list[str]]:
    stored = str(uuid4())
    bare = stored.replace("-", "")
    return stored, [stored, stored.upper(), bare, f"{{{stored}}}", f"urn:uuid:{stored}"]


@pytest.mark.parametrize("kind", [native, uuid])
async def test_every_spelling_means_the_same_on_every_route(service: Service, kind: Any) -> None:
    user = f"speller-{kind.__name__}"
    alice = service.user(user)
    stored, spellings = kind()
    for spelling in spellings:
        assert await conversation(service, user, conversation_id=stored) == stored
        for method, path, body in ROUTES:
            if method != "DELETE":
                answer = await alice.request(method, path.format(quote(spelling)), json=body)
                assert answer.status_code == 200, (method, path, spelling, answer.text)
                assert answer.json()["conversation_id"] == stored
        fields = {"conversation_id": spelling, "user_question": "q", "llm_response": "a", "sentiment": 1}
        assert (await alice.post("/v1/feedback", json=fields)).status_code == 200
        for path in ("/v1/query", "/v1/streaming_query"):
            answer = await alice.post(path, json={"query": "more", "conversation_id": spelling})
            assert answer.status_code == 200
            assert stored in answer.text
        for version in ("v1", "v2"):
            listed = await alice.get(f"/{version}/conversations", params={"after": spelling})
            assert (listed.status_code, listed.json()) == (200, {"conversations": []})
        for version in ("v1", "v2"):
            answer = await alice.delete(f"/{version}/conversations/{quote(spelling)}")
            assert answer.json()["conversation_id"] == stored
            assert answer.json()["deleted"] is (version == "v1")


BAD = [
    "abc",
    " ",
    "0" * 47,
    "0" * 49,
    "g" * 48,
    " " + "0" * 47,
    "+" + "0" * 47,
    "-" + "0" * 47,
    "0_" * 24,
    "0x" + "0" * 46,
    "conv_",
    "conv_" + "0" * 47,
    f"conv_{uuid4()}",
    f"conv_conv_{'0' * 48}",
    str(uuid4())[:-1],
    f"{uuid4()}0",
    "\u0660" * 48,
    "\uff10" * 48,
    "0" * 48 + "\n",
    "0" * 48 + "\x00",
    "\x00",
    "\ud7ff\ufffd",
    "%",
    "%00",
    "%2e%2e",
    "null",
    "None",
    "'; DROP TABLE lightspeed_turns; --",
    "<script>alert(1)",
    "{}",
    "{conversation_id}",
    "x" * 5000,
    "🤖" * 12,
]


@pytest.mark.parametrize(("method", "path", "body"), ROUTES)
async def test_ids_of_the_wrong_form_are_told(service: Service, method: str, path: str, body: Any) -> None:
    for bad in BAD:
        answer = await service.user(ROOT).request(method, path.format(quote(bad, safe="")), json=body)
        assert answer.status_code == 400, (bad, answer.text)
        assert answer.json()["detail"] == {
            "response": "Invalid conversation ID format",
            "cause": f"The conversation ID {bad} has invalid format.",
        }


@pytest.mark.parametrize(
    "raw",
    ["..", "%2e%2e", "%ff%fe", "%c0%af", "%2F", "a%2Fb", "%5c", "%0d%0aX-Evil:1", ";id=1", "%", "%zz", ""],
)
@pytest.mark.parametrize(("method", "path", "body"), ROUTES)
async def test_odd_paths_are_no_fault(service: Service, method: str, path: str, body: Any, raw: str) -> None:
    answer = await service.client.request(method, path.format(raw), json=body)
    assert 300 <= answer.status_code < 500, answer.text


async def test_ids_in_bodies_are_checked_too(service: Service) -> None:
    for bad in BAD:
        for path, body in (
            ("/v1/query", {"query": "x"}),
            ("/v1/streaming_query", {"query": "x"}),
            ("/v1/feedback", {"user_question": "q", "llm_response": "a", "sentiment": 1}),
        ):
            answer = await service.client.post(path, json={**body, "conversation_id": bad})
            assert answer.status_code == 422, (bad, answer.text)
            assert "Improper conversation ID" in answer.json()["detail"][0]["msg"]
