"""The service with Splunk configured."""

import logging
import time
from pathlib import Path
from typing import Any

import pytest
from anyio import to_thread

from tests.api.conftest import running
from tests.scripted_model import ScriptedModel
from tests.telemetry.receiver import Receiver

pytestmark = pytest.mark.anyio


def section(state: Path, receiver: Receiver) -> dict[str, Any]:
    (state / "token").write_text("a-token")
    return {"enabled": True, "url": receiver.url, "token_path": str(state / "token"), "index": "assistant"}


def leave_behind(state: Path) -> Path:
    """An event of an earlier process."""
    left = state / "splunk" / f"{time.time_ns():020d}-left.events"
    left.parent.mkdir()
    left.write_bytes(b'{"event":{"number":1}}\n')
    return left


def until_gone(path: Path) -> None:
    end = time.monotonic() + 10
    while path.exists():
        assert time.monotonic() < end
        time.sleep(0.01)


async def test_what_an_earlier_process_has_left_is_sent(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    left = await to_thread.run_sync(leave_behind, tmp_path)
    with Receiver() as receiver, ScriptedModel() as model, caplog.at_level(logging.WARNING):
        splunk = await to_thread.run_sync(section, tmp_path, receiver)
        async with running(tmp_path, model, splunk=splunk) as service:
            await to_thread.run_sync(receiver.wait, len)
            await to_thread.run_sync(until_gone, left)
            assert (await service.client.get("/readiness")).json()["ready"] is True
    assert receiver.requests[0].body == b'{"event":{"number":1}}'
    assert "Configuration: splunk.enabled: nothing is sent yet" in caplog.text


async def test_a_collector_that_is_away_is_told_and_stops_nothing(tmp_path: Path) -> None:
    left = await to_thread.run_sync(leave_behind, tmp_path)
    receiver = Receiver()
    with receiver:
        pass
    with ScriptedModel() as model:
        splunk = await to_thread.run_sync(section, tmp_path, receiver)
        async with running(tmp_path, model, splunk=splunk) as service:
            end, told = time.monotonic() + 10, ""
            while "splunk" not in told:
                assert time.monotonic() < end
                answer = await service.client.get("/readiness")
                assert answer.status_code == 200
                told = answer.text
            asked = await service.client.post("/v1/query", json={"query": "How many nodes?"})
            assert asked.status_code == 200
    assert await to_thread.run_sync(left.exists)
