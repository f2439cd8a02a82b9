"""The trace of a question: the whole application, a scripted model, and a real collector."""

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import anyio
import pytest

from tests.api.conftest import Service, running
from tests.api.test_streaming_query import interrupt, streaming
from tests.scripted_model import Reply, ScriptedModel, ToolCall, Usage, server_error
from tests.telemetry.collected_spans import Collected, collected, named
from tests.telemetry.receiver import Receiver

pytestmark = pytest.mark.anyio

CALLER = "4bf92f3577b34da6a3ce929d0e0e4736"
QUESTION, ANSWER, WANTED = "What is the vault's colour?", "It is ultramarine.", "vault-paint"


@asynccontextmanager
async def traced(
    state: Path, monkeypatch: pytest.MonkeyPatch, **variables: str
) -> AsyncIterator[tuple[Service, Receiver]]:
    """When the block ends, all spans have been received."""
    monkeypatch.delenv("OTEL_EXPORTER_OTLP_ENDPOINT", raising=False)
    with Receiver() as receiver, ScriptedModel() as model:
        # Not the variable of all signals: by that one the stack would set up metrics for the whole process.
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", f"{receiver.url}/v1/traces")
        for name, value in variables.items():
            monkeypatch.setenv(name, value)
        async with running(state, model) as service:
            yield service, receiver


def children(receiver: Receiver, parent: Collected) -> list[Collected]:
    return [span for span in collected(receiver) if span.parent == parent.id]


async def ask(service: Service, path: str = "/v1/query", **headers: str) -> Any:
    body = {"query": QUESTION, "generate_topic_summary": False}
    return await service.client.post(path, json=body, headers=headers)


async def test_a_question_with_a_tool(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with traced(tmp_path, monkeypatch) as (service, receiver):
        call = ToolCall("paint_shop", {"colour": WANTED}, id="call_1")
        service.model.queue(Reply("", tool_calls=[call], usage=Usage(30, 5)))
        service.model.queue(Reply(ANSWER, usage=Usage(50, 7)))
        response = await ask(
            service, traceparent=f"00-{CALLER}-00f067aa0ba902b7-01", **{"X-Request-ID": "id-7"}
        )
        assert response.status_code == 200
        await service.client.get("/liveness")
        await service.client.get("/nothing")
    request = named(receiver, "POST /v1/query")
    assert (request.kind, request.trace, request.parent) == ("SERVER", CALLER, "00f067aa0ba902b7")
    assert request.attributes | {"server.address": "service"} == {
        "http.request.method": "POST",
        "http.route": "/v1/query",
        "http.response.status_code": 200,
        "url.scheme": "http",
        "url.path": "/v1/query",
        "network.protocol.version": "1.1",
        "server.address": "service",
        "lightspeed.request_id": "id-7",
    }
    turn = named(receiver, "invoke_agent lightspeed")
    assert turn.parent == request.id
    conversation = response.json()["conversation_id"]
    assert turn.attributes == {
        "gen_ai.operation.name": "invoke_agent",
        "gen_ai.agent.name": "lightspeed",
        "gen_ai.provider.name": "scripted",
        "gen_ai.request.model": "scripted",
        "gen_ai.conversation.id": conversation,
        "gen_ai.usage.input_tokens": 80,
        "gen_ai.usage.output_tokens": 12,
        "lightspeed.turn.id": turn.attributes["lightspeed.turn.id"],
        "lightspeed.face": "/v1/query",
        "lightspeed.turn.outcome": "completed",
    }
    steps = children(receiver, turn)
    assert sorted(step.name for step in steps) == [
        "chat scripted",
        "chat scripted",
        "execute_tool paint_shop",
        "record",
        "retrieval",
    ]
    first, second = (step for step in steps if step.name == "chat scripted")
    assert first.kind == "CLIENT"
    assert first.attributes == {
        "gen_ai.operation.name": "chat",
        "gen_ai.provider.name": "scripted",
        "gen_ai.request.model": "scripted",
        "gen_ai.conversation.id": conversation,
        "gen_ai.response.finish_reasons": ["tool_calls"],
        "gen_ai.usage.input_tokens": 30,
        "gen_ai.usage.output_tokens": 5,
    }
    assert second.attributes["gen_ai.response.finish_reasons"] == ["stop"]
    (tool,) = (step for step in steps if step.name.startswith("execute_tool"))
    assert tool.attributes["gen_ai.tool.call.id"] == "call_1"
    assert tool.failed  # there is no such tool
    assert {span.name for span in collected(receiver)} >= {"GET"}  # no route, no name
    assert not [span for span in collected(receiver) if "liveness" in str(span)]
    sent = b"".join(received.body for received in receiver.requests)
    for secret in (QUESTION, ANSWER, WANTED):
        assert secret.encode() not in sent


async def test_content_is_sent_if_it_is_asked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    wanted = {"OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT": "true"}
    async with traced(tmp_path, monkeypatch, **wanted) as (service, receiver):
        service.model.queue(Reply("", tool_calls=[ToolCall("paint_shop", {"colour": WANTED}, id="call_1")]))
        service.model.queue(Reply(ANSWER))
        assert (await ask(service, "/v1/streaming_query")).status_code == 200
    first, second = (span for span in collected(receiver) if span.name == "chat scripted")
    assert first.attributes["gen_ai.request.stream"] is True
    assert "gen_ai.response.time_to_first_chunk" not in first.attributes
    assert 0 < second.attributes["gen_ai.response.time_to_first_chunk"] < 20
    (instructions,) = json.loads(first.attributes["gen_ai.system_instructions"])
    assert instructions["type"] == "text"
    (asked,) = json.loads(first.attributes["gen_ai.input.messages"])
    assert asked == {"role": "user", "parts": [{"type": "text", "content": QUESTION}]}
    call = {"type": "tool_call", "id": "call_1", "name": "paint_shop", "arguments": {"colour": WANTED}}
    assert json.loads(first.attributes["gen_ai.output.messages"]) == [
        {"role": "assistant", "parts": [call], "finish_reason": "tool_calls"}
    ]
    *_, assistant, tool = json.loads(second.attributes["gen_ai.input.messages"])
    assert assistant["parts"] == [call]
    assert tool["role"] == "tool"
    assert tool["parts"][0]["type"] == "tool_call_response"
    assert json.loads(second.attributes["gen_ai.output.messages"]) == [
        {"role": "assistant", "parts": [{"type": "text", "content": ANSWER}], "finish_reason": "stop"}
    ]
    execution = named(receiver, "execute_tool paint_shop")
    assert json.loads(execution.attributes["gen_ai.tool.call.arguments"]) == {"colour": WANTED}
    assert "no tool" in execution.attributes["gen_ai.tool.call.result"]
    assert named(receiver, "retrieval").attributes["gen_ai.retrieval.query.text"] == QUESTION


async def test_what_fails_is_marked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with traced(tmp_path, monkeypatch) as (service, receiver):
        service.model.queue(Reply(error=server_error()), times=9)
        status = (await ask(service)).status_code
        assert status >= 500
    request, turn = named(receiver, "POST /v1/query"), named(receiver, "invoke_agent lightspeed")
    assert request.failed
    assert request.attributes["error.type"] == str(status)
    assert turn.failed
    assert turn.attributes["lightspeed.turn.outcome"] == "failed"
    assert named(receiver, "chat scripted").failed


async def test_an_interrupted_turn_is_no_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with traced(tmp_path, monkeypatch) as (service, receiver):
        reply = service.model.queue(Reply("One two three", hang_at=1))
        async with streaming(service) as stream:
            await reply.reached.wait()
            await stream.reads('"One"')
            assert (await interrupt(service, stream.request_id)).status_code == 200
    turn, chat = named(receiver, "invoke_agent lightspeed"), named(receiver, "chat scripted")
    assert turn.attributes["lightspeed.turn.outcome"] == "interrupted"
    assert not turn.failed
    assert not chat.failed
    assert chat.parent == turn.id


async def test_a_slow_collector_delays_no_answer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    variables = {"OTEL_BSP_SCHEDULE_DELAY": "10"}
    async with traced(tmp_path, monkeypatch, **variables) as (service, receiver):
        receiver.released.clear()
        with anyio.fail_after(15):
            for _ in range(3):
                assert (await ask(service)).status_code == 200
        receiver.released.set()
    assert len([span for span in collected(receiver) if span.name == "POST /v1/query"]) == 3
