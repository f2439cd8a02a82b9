"""Spans of single calls, as a collector sees them."""

import pytest

from lightspeed.telemetry.round_spans import RoundSpans
from lightspeed.telemetry.tracing import Tracing
from tests.telemetry.collected_spans import named
from tests.telemetry.receiver import Receiver

pytestmark = pytest.mark.anyio


async def test_tools_that_work_and_tools_that_fail(monkeypatch: pytest.MonkeyPatch) -> None:
    with Receiver() as receiver:
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", f"{receiver.url}/v1/traces")
        tracing = Tracing()
        await tracing.open()
        spans = RoundSpans(tracing, "openai", "gpt", "c1")
        for name, status in (("search", "completed"), ("count", "success"), ("fly", "failure")):
            with spans.tool(name, f"call_{name}", ['{"a"', ": 1}"]) as span:
                spans.tool_answered(span, status, "a result")
        await tracing.close()
    for name, failed in (("search", False), ("count", False), ("fly", True)):
        tool = named(receiver, f"execute_tool {name}")
        assert tool.failed is failed
        assert tool.attributes.pop("error.type", None) == ("failure" if failed else None)
        assert tool.attributes == {
            "gen_ai.operation.name": "execute_tool",
            "gen_ai.tool.name": name,
            "gen_ai.tool.call.id": f"call_{name}",
            "gen_ai.tool.type": "function",
            "gen_ai.conversation.id": "c1",
        }
