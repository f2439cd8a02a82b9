"""POST /v1/streaming_query and its interruption, on the wire."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any
from uuid import uuid4

import pytest

from tests.api.conftest import Service, running
from tests.scripted_model import Reply, ScriptedModel, ToolCall, Usage

pytestmark = pytest.mark.anyio


class Stream:
    """A stream that is read while it goes on."""

    def __init__(self) -> None:
        self.status = 0
        self.text = ""
        self.ended = False
        self._more = asyncio.Event()

    async def send(self, message: Any) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
        else:
            self.text += message["body"].decode()
            self.ended = not message["more_body"]
        self._more.set()

    async def reads(self, text: str) -> None:
        async with asyncio.timeout(30):
            while text not in self.text:
                assert not self.ended, self.text
                self._more.clear()
                await self._more.wait()

    @property
    def events(self) -> list[dict[str, Any]]:
        frames = [frame for frame in self.text.split("\n\n") if frame.startswith("data: ")]
        return [json.loads(frame[6:]) for frame in frames]

    @property
    def request_id(self) -> str:
        return str(self.events[0]["data"]["request_id"])


@asynccontextmanager
async def streaming(
    service: Service, user: str = "alice", *, authorization: str = "", **body: Any
) -> AsyncIterator[Stream]:
    """A stream that is read to its end when the test is done with it."""
    stream = Stream()
    content = json.dumps({"query": "Count.", **body}).encode()
    scope = {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.3"},
        "method": "POST",
        "path": "/v1/streaming_query",
        "query_string": f"user_id={user}".encode(),
        "headers": [
            (b"content-type", b"application/json"),
            (b"authorization", authorization.encode()),
        ],
    }
    question = iter([{"type": "http.request", "body": content, "more_body": False}])

    async def receive() -> Any:
        if (message := next(question, None)) is not None:
            return message
        return await asyncio.Future()

    task = asyncio.create_task(service.app(scope, receive, stream.send))
    yield stream
    await asyncio.wait_for(task, 30)


async def interrupt(service: Service, request_id: str, user: str = "alice") -> Any:
    return await service.user(user).post("/v1/streaming_query/interrupt", json={"request_id": request_id})


async def test_a_stream_has_the_events_of_the_contract(service: Service) -> None:
    service.model.queue(Reply(tool_calls=[ToolCall("fly", {"to": "moon"}, id="c1")], usage=Usage(20, 2)))
    service.model.queue(Reply(["Two", " nodés"], usage=Usage(40, 2)))
    async with streaming(service) as stream:
        pass
    start, call, result, *rest = stream.events
    assert start["event"] == "start"
    assert len(start["data"]["conversation_id"]) == 48
    assert set(start["data"]) == {"conversation_id", "request_id"}
    assert call["data"] == {"id": "c1", "name": "fly", "args": {"to": "moon"}, "type": "function_call"}
    assert set(result["data"]) == {"id", "status", "content", "type", "round"}
    assert rest == [
        {"event": "token", "data": {"id": 0, "token": ""}},
        {"event": "token", "data": {"id": 1, "token": "Two"}},
        {"event": "token", "data": {"id": 2, "token": " nodés"}},
        {"event": "turn_complete", "data": {"id": 3, "token": "Two nodés"}},
        {
            "event": "end",
            "data": {
                "referenced_documents": [],
                "truncated": None,
                "input_tokens": 60,
                "output_tokens": 4,
            },
            "available_quotas": {},
        },
    ]
    assert stream.text.isascii()
    assert "heartbeat" not in stream.text


async def test_an_interrupted_stream_ends_and_shows_in_the_history(service: Service) -> None:
    service.model.queue(Reply("one two three", hang_at=2))
    async with streaming(service) as stream:
        await stream.reads('" two"')
        foreign = await interrupt(service, stream.request_id, "guest")
        assert foreign.status_code == 403
        assert foreign.json()["detail"] == {
            "response": "User does not have permission to interrupt this streaming request",
            "cause": f"User guest does not own streaming request with ID {stream.request_id}",
        }
        stopped = await interrupt(service, stream.request_id.upper())
        assert stopped.json() == {
            "request_id": stream.request_id,
            "interrupted": True,
            "message": "Streaming request interrupted",
        }
    assert stream.events[-1] == {"event": "interrupted", "data": {"request_id": stream.request_id}}
    conversation_id = stream.events[0]["data"]["conversation_id"]
    for version in ("v1", "v2"):
        answer = await service.user("alice").get(f"/{version}/conversations/{conversation_id}")
        (turn,) = answer.json()["chat_history"]
        assert [message["content"] for message in turn["messages"]] == ["Count.", "one two"]


async def test_nothing_else_can_be_interrupted(service: Service) -> None:
    async with streaming(service) as ended:
        pass
    for request_id in (ended.request_id, str(uuid4())):
        answer = await interrupt(service, request_id)
        assert answer.status_code == 404
        assert answer.json()["detail"] == {
            "response": "Streaming Request not found",
            "cause": f"Streaming Request with ID {request_id} does not exist",
        }
    for bad in ("abc", "", "0" * 48):
        answer = await interrupt(service, bad)
        assert answer.status_code == 422
        assert answer.json()["detail"][0]["msg"] == f"Value error, Improper request ID {bad}"
    answer = await service.client.post(
        "/v1/streaming_query/interrupt", json={"request_id": str(uuid4()), "more": 1}
    )
    assert answer.json()["detail"][0]["msg"] == "Extra inputs are not permitted"


async def test_plain_text_is_only_text(service: Service) -> None:
    service.model.queue(Reply(["I look."], tool_calls=[ToolCall("fly", {}, id="c1")]))
    service.model.queue(Reply("No wings."))
    async with streaming(service, media_type="text/plain") as stream:
        pass
    assert stream.text == "I look.\n[Tool Call: fly]\n[Tool Result]\nNo wings."


async def test_what_fails_before_the_model_answers_is_a_status(service: Service) -> None:
    cases: list[tuple[dict[str, Any], int, str]] = [
        ({"provider": "scripted", "model": "m9"}, 404, "Model not found"),
        ({"conversation_id": "0" * 48}, 404, "Conversation not found"),
        ({"shield_ids": ["s"]}, 404, "Shield not found"),
        (
            {"attachments": [{"attachment_type": "song", "content_type": "text/plain", "content": ""}]},
            422,
            "Invalid attribute value",
        ),
    ]
    for body, status, response in cases:
        answer = await service.client.post("/v1/streaming_query", json={"query": "x", **body})
        assert (answer.status_code, answer.json()["detail"]["response"]) == (status, response)


@pytest.fixture
async def impatient(tmp_path: Any) -> AsyncIterator[Service]:
    with ScriptedModel() as model:
        async with running(tmp_path, model, service={"heartbeat_seconds": 1}) as service:
            yield service


async def test_a_silent_stream_gets_comment_lines_and_plain_text_none(impatient: Service) -> None:
    plain = impatient.model.queue(Reply("one two three", hang_at=2))
    async with streaming(impatient, media_type="text/plain") as text:
        await text.reads(" two")
        reply = impatient.model.queue(Reply("one two three", hang_at=2))
        async with streaming(impatient) as stream:
            await stream.reads('" two"')
            await stream.reads(": heartbeat\n\n")
            reply.release()
        plain.release()
    assert [event["event"] for event in stream.events][-2:] == ["turn_complete", "end"]
    assert text.text == "one two three"
