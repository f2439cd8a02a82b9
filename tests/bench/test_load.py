"""The benchmark's own parts: what it counts is there, and wrong answers are not counted."""

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.bench import service
from tests.bench.client import BrokenResponseError, Connection, post
from tests.bench.load import Job, Load, answer_fault, stream_fault
from tests.bench.process import Child, DidNotStartError, free_port, get_status
from tests.scripted_model import HEADERS, Reply, ScriptedModel

pytestmark = pytest.mark.anyio


@pytest.fixture(scope="module")
def floor(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Child]:
    folder = tmp_path_factory.mktemp("floor")
    with service.scripted_model(folder) as model:
        model.wait_for("/v1/models", 60)
        with service.floor(folder, f"http://127.0.0.1:{model.port}/v1") as child:
            child.wait_for("/liveness", 60)
            yield child


@pytest.mark.parametrize("path", ["/query", "/stream"])
async def test_a_load_on_the_floor_has_no_faults(floor: Child, path: str) -> None:
    result = await Load(Job(floor.port, path, tokens=40, clients=2, seconds=0.2, warm_up=0.05)).run()
    assert result.faults == {}
    assert result.served > result.requests > 0
    assert result.tokens_rate == pytest.approx(40 * result.rate)
    assert result.p99 >= result.p50 > 0


async def test_answers_with_other_than_the_expected_tokens_are_faults(floor: Child) -> None:
    question = b'{"query": "Answer in 3 tokens."}'
    loop = asyncio.get_running_loop()
    _, connection = await loop.create_connection(Connection, "127.0.0.1", floor.port)
    (_, answer), (_, stream) = (
        await connection.ask(post("/query", question)),
        await connection.ask(post("/stream", question)),
    )
    connection.close()
    assert [answer_fault(answer, tokens) for tokens in (3, 4)] == [None, "3 words, not 4"]
    assert [stream_fault(stream, tokens) for tokens in (3, 4)] == [None, "3 token events, not 4"]
    assert stream_fault(stream.replace(b'"end"', b'"error"'), 3) == "no end event"


async def test_a_refusal_and_a_cut_connection_are_faults(floor: Child) -> None:
    refused = await Load(Job(floor.port, "/absent", 3, clients=1, seconds=0.05, warm_up=0)).run()
    assert refused.requests == 0
    assert set(refused.faults) == {"status 404"}
    async with ScriptedModel(default=Reply("Two nodes.", cut_at=HEADERS)) as model:
        loop = asyncio.get_running_loop()
        _, connection = await loop.create_connection(Connection, "127.0.0.1", model.port)
        body = b'{"model": "scripted", "messages": []}'
        with pytest.raises(BrokenResponseError, match="closed by the server"):
            await connection.ask(post("/v1/chat/completions", body))


def test_a_child_is_measured_and_ended(floor: Child, tmp_path: Path) -> None:
    assert floor.resident() > 10_000_000
    assert floor.cpu() > 0
    assert floor.maps("uvloop")
    assert not floor.maps("/torch/")
    with service.scripted_model(tmp_path) as child:
        assert child.wait_for("/v1/models", 60) > 0
    assert get_status(child.port, "/v1/models") is None


def test_a_child_that_ends_says_why(tmp_path: Path) -> None:
    log, port = tmp_path / "log", free_port()
    with (
        Child("absent", ["tests.bench.absent"], port=port, log=log, environment={}) as child,
        pytest.raises(DidNotStartError, match=r"ended with 1\n.*No module named tests.bench.absent"),
    ):
        child.wait_for("/liveness", 60)
