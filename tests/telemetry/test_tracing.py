"""Spans: sent to a real collector, cheap without one, harmless when it is away."""

import logging
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from anyio import to_thread

from lightspeed.telemetry.tracing import NO_TRACES, Tracing
from tests.telemetry.collected_spans import collected, named
from tests.telemetry.receiver import Receiver

pytestmark = pytest.mark.anyio

CALLER = "4bf92f3577b34da6a3ce929d0e0e4736"


@pytest.fixture(autouse=True)
def collector_of_the_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_TRACES_SAMPLER", "OTEL_SERVICE_NAME"):
        monkeypatch.delenv(name, raising=False)


@asynccontextmanager
async def tracing_to(url: str, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Tracing]:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", f"{url}/v1/traces")
    tracing = Tracing()
    await tracing.open()
    try:
        yield tracing
    finally:
        await tracing.close()


async def test_spans_reach_the_collector_with_their_parents(monkeypatch: pytest.MonkeyPatch) -> None:
    with Receiver() as receiver:
        async with tracing_to(receiver.url, monkeypatch) as tracing:
            with tracing.span("outer", {"a": 1, "b": None}, kind="server") as outer:
                assert outer.trace_id is not None
                with tracing.span("inner", {}) as inner:
                    inner.set({"names": ["x", "y"]})
            with tracing.span("other", {}):
                pass
        outer_span, inner_span = named(receiver, "outer"), named(receiver, "inner")
        assert (outer_span.kind, outer_span.parent, outer_span.trace) == ("SERVER", "", outer.trace_id)
        assert outer_span.attributes == {"a": 1}
        assert (inner_span.kind, inner_span.parent) == ("INTERNAL", outer_span.id)
        assert inner_span.attributes == {"names": ["x", "y"]}
        assert named(receiver, "other").parent == ""
        assert outer_span.resource["service.name"] == "lightspeed-stack"
        assert outer_span.resource["service.version"]


async def test_the_name_of_the_service_is_the_operators(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OTEL_SERVICE_NAME", "assistant-7")
    with Receiver() as receiver:
        async with tracing_to(receiver.url, monkeypatch) as tracing:
            tracing.span("one", {}).end()
        assert named(receiver, "one").resource["service.name"] == "assistant-7"


async def test_the_trace_of_the_caller_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    carrier = {"traceparent": f"00-{CALLER}-00f067aa0ba902b7-01"}
    with Receiver() as receiver:
        async with tracing_to(receiver.url, monkeypatch) as tracing:
            tracing.span("answer", {}, carrier=carrier).end()
            tracing.span("unsampled", {}, carrier={"traceparent": carrier["traceparent"][:-1] + "0"}).end()
            tracing.span("nonsense", {}, carrier={"traceparent": "00-no"}).end()
        span = named(receiver, "answer")
        assert (span.trace, span.parent) == (CALLER, "00f067aa0ba902b7")
        assert named(receiver, "nonsense").parent == ""
        assert len(collected(receiver)) == 2


async def test_an_error_tells_its_class_only(monkeypatch: pytest.MonkeyPatch) -> None:
    with Receiver() as receiver:
        async with tracing_to(receiver.url, monkeypatch) as tracing:
            with pytest.raises(ValueError, match="hunter2"), tracing.span("work", {}):
                raise ValueError("the password is hunter2")
        span = named(receiver, "work")
        assert span.failed
        assert span.attributes == {"error.type": "ValueError"}
        assert b"hunter2" not in b"".join(request.body for request in receiver.requests)


async def test_what_the_stack_writes_into_the_current_span_goes_nowhere(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from opentelemetry import trace

    with Receiver() as receiver:
        async with tracing_to(receiver.url, monkeypatch) as tracing:
            with tracing.span("ours", {}):
                trace.get_current_span().set_attribute("shield.messages", "What is my secret?")
        assert named(receiver, "ours").attributes == {}


async def test_a_collector_that_is_away_costs_one_warning(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("OTEL_BSP_SCHEDULE_DELAY", "20")
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_TRACES_TIMEOUT", "0.1")
    receiver = Receiver()
    with receiver:
        pass  # now it has a port, and nobody listens there
    with caplog.at_level(logging.INFO):
        async with tracing_to(receiver.url, monkeypatch) as tracing:

            def tell(message: str) -> bool:
                return any(message in record.getMessage() for record in caplog.records)

            async def until(message: str) -> None:
                end = time.monotonic() + 20
                while not tell(message):
                    assert time.monotonic() < end
                    tracing.span("one", {}).end()
                    await to_thread.run_sync(time.sleep, 0.02)

            await until("Traces cannot be delivered")
            for _ in range(5):
                tracing.span("one", {}).end()
                await to_thread.run_sync(time.sleep, 0.15)
            records = [record for record in caplog.records if record.levelno >= logging.WARNING]
            assert [record.name for record in records] == ["lightspeed.telemetry.span_delivery"]
            with receiver:
                await until("Traces are delivered again")
    assert collected(receiver)


async def test_a_collector_that_hangs_does_not_hold_up_the_end(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    with Receiver() as receiver:
        receiver.released.clear()
        async with tracing_to(receiver.url, monkeypatch) as tracing:
            tracing.span("one", {}).end()
            clock = time.monotonic()
            await tracing.close(0.2)
            assert time.monotonic() - clock < 5
        assert "lost" in caplog.text


async def test_after_the_end_spans_go_nowhere(monkeypatch: pytest.MonkeyPatch) -> None:
    with Receiver() as receiver:
        async with tracing_to(receiver.url, monkeypatch) as tracing:
            pass
        with tracing.span("late", {}) as span:
            assert span.trace_id is None
        assert receiver.requests == []


@pytest.mark.parametrize(
    "environment",
    [
        {},
        {"OTEL_EXPORTER_OTLP_ENDPOINT": ""},
        {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://c", "OTEL_SDK_DISABLED": "true"},
        {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://c", "OTEL_TRACES_EXPORTER": "none"},
    ],
)
async def test_without_an_endpoint_nothing_is_made(environment: dict[str, str]) -> None:
    tracing = Tracing(environment)
    await tracing.open()
    assert not tracing.configured
    assert not tracing.active
    with tracing.span("one", {"a": 1}) as span:
        span.set({"b": 2})
        span.fail("Error")
        span.rename("two")
        assert span is NO_TRACES.span("one", {})


async def test_another_protocol_is_told(caplog: pytest.LogCaptureFixture) -> None:
    tracing = Tracing({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://c:4317", "OTEL_EXPORTER_OTLP_PROTOCOL": "grpc"})
    await tracing.open()
    assert not tracing.active
    assert "'grpc' is not spoken" in caplog.text


UNCONFIGURED = """
import sys
import lightspeed.app
from lightspeed.telemetry.tracing import Tracing
Tracing({}).span("one", {}).end()
print([name for name in sys.modules if name.split(".")[0] in ("opentelemetry", "sentry_sdk")])
"""


def test_without_an_endpoint_nothing_is_imported() -> None:
    done = subprocess.run([sys.executable, "-c", UNCONFIGURED], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
