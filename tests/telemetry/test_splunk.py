"""Events for Splunk, against a real collector that fails, hangs, goes away and comes back."""

import asyncio
import json
import logging
import socket
import ssl
import stat
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from anyio import to_thread

from lightspeed import __version__
from lightspeed.configuration.telemetry import SplunkConfiguration
from lightspeed.telemetry.splunk import SplunkSink
from tests.storage.certificates import Authority
from tests.telemetry.receiver import Receiver

pytestmark = pytest.mark.anyio

LOGGER = "lightspeed.telemetry.splunk"


@pytest.fixture
def token(tmp_path: Path) -> Path:
    path = tmp_path / "token"
    path.write_text("first-token\n")
    return path


async def settings(receiver: Receiver, token: Path, **changes: Any) -> SplunkConfiguration:
    given = {
        "enabled": True,
        "url": f"{receiver.url}/services/collector/event",
        "token_path": token,
        "index": "assistant",
        "timeout": 2,
    }
    return await to_thread.run_sync(SplunkConfiguration.model_validate, given | changes)


@asynccontextmanager
async def sink(
    receiver: Receiver, token: Path, *, most_on_disk: int = 2**20, **changes: Any
) -> AsyncIterator[SplunkSink]:
    """A sink that has been closed when the block ends."""
    made = SplunkSink(
        await settings(receiver, token, **changes),
        token.parent / "splunk",
        pauses=(0.05,),
        most_on_disk=most_on_disk,
    )
    made.start()
    try:
        yield made
    finally:
        await made.close(1)


def envelopes(receiver: Receiver) -> list[dict[str, Any]]:
    return [json.loads(line) for request in list(receiver.requests) for line in request.body.splitlines()]


def numbers(receiver: Receiver) -> list[int]:
    return [envelope["event"]["number"] for envelope in envelopes(receiver)]


async def until(ready: Callable[[], object]) -> None:
    end = time.monotonic() + 20
    while not ready():
        assert time.monotonic() < end
        await asyncio.sleep(0.01)


async def spooled(token: Path) -> list[Path]:
    folder = token.parent / "splunk"
    return await to_thread.run_sync(lambda: sorted(folder.iterdir()) if folder.is_dir() else [])


async def test_an_event_in_its_envelope(token: Path) -> None:
    with Receiver() as receiver:
        async with sink(receiver, token, source="assistant-7") as splunk:
            before = int(time.time())
            splunk.record("infer_with_llm", {"question": "Wie viele Knöten?\n"})
            await until(lambda: receiver.requests)
    (request,) = receiver.requests
    assert request.path == "/services/collector/event"
    assert request.headers["authorization"] == "Splunk first-token"
    (envelope,) = envelopes(receiver)
    assert before <= envelope.pop("time") <= time.time()
    assert envelope == {
        "host": socket.gethostname(),
        "source": f"assistant-7 (v{__version__})",
        "sourcetype": "infer_with_llm",
        "index": "assistant",
        "event": {"question": "Wie viele Knöten?\n"},
    }
    assert await spooled(token) == []


async def test_events_that_come_together_are_sent_together(token: Path) -> None:
    with Receiver() as receiver:
        async with sink(receiver, token) as splunk:
            for number in range(250):
                splunk.record("t", {"number": number})
            await until(lambda: len(numbers(receiver)) == 250)
    assert numbers(receiver) == list(range(250))
    assert len(receiver.requests) <= 4


async def test_the_token_is_read_each_time(token: Path) -> None:
    with Receiver() as receiver:
        async with sink(receiver, token) as splunk:
            splunk.record("t", {"number": 1})
            await until(lambda: len(receiver.requests) == 1)
            await to_thread.run_sync(token.write_text, "second-token")
            splunk.record("t", {"number": 2})
            await until(lambda: len(receiver.requests) == 2)
    assert [request.headers["authorization"] for request in receiver.requests] == [
        "Splunk first-token",
        "Splunk second-token",
    ]


@pytest.mark.parametrize(
    ("status", "answer"),
    [
        (503, {"text": "Server is busy", "code": 9}),
        (403, {"text": "Invalid token", "code": 4}),
        (400, {"text": "Incorrect index", "code": 7}),
        (404, "no JSON object"),
        (302, {}),
    ],
)
async def test_events_outlast_a_collector_that_refuses(
    token: Path, caplog: pytest.LogCaptureFixture, status: int, answer: Any
) -> None:
    with Receiver(lambda _: (status, answer)) as receiver, caplog.at_level(logging.INFO, LOGGER):
        async with sink(receiver, token) as splunk:
            for number in range(3):
                splunk.record("t", {"number": number})
            await until(lambda: len(receiver.requests) >= 4)
            assert f"answered {status}" in (splunk.trouble or "")
            (waiting,) = await spooled(token)
            assert stat.S_IMODE(waiting.stat().st_mode) == 0o600
            splunk.record("t", {"number": 3})
            receiver.requests.clear()
            receiver.answer = lambda _: (200, {})
            await until(lambda: 3 in numbers(receiver))
            await until(lambda: splunk.trouble is None)
    assert list(dict.fromkeys(numbers(receiver))) == [0, 1, 2, 3]
    assert await spooled(token) == []
    assert [record.levelname for record in caplog.records] == ["WARNING", "INFO"]
    assert "first-token" not in caplog.text


async def test_a_collector_that_is_gone_and_comes_back(token: Path) -> None:
    receiver = Receiver()
    with receiver:
        pass
    async with sink(receiver, token) as splunk:
        for number in range(150):
            splunk.record("t", {"number": number})
        await until(lambda: splunk.trouble)
        assert "cannot be reached" in (splunk.trouble or "")
        with receiver:
            await until(lambda: len(numbers(receiver)) == 150)
    assert sorted(numbers(receiver)) == list(range(150))


async def test_a_collector_that_hangs_holds_up_nobody(token: Path) -> None:
    with Receiver() as receiver:
        receiver.released.clear()
        async with sink(receiver, token, timeout=1) as splunk:
            splunk.record("t", {"number": 1})
            await until(lambda: splunk.trouble)
            assert splunk.trouble == "127.0.0.1 did not answer within 1 s"
            receiver.released.set()
            await until(lambda: splunk.trouble is None)
    assert set(numbers(receiver)) == {1}


async def test_what_waits_at_the_end_is_sent_by_the_next_process(token: Path) -> None:
    receiver = Receiver()
    with receiver:
        pass
    async with sink(receiver, token) as splunk:
        splunk.record("t", {"number": 1})
        await until(lambda: splunk.trouble)
        splunk.record("t", {"number": 2})
    with receiver:
        async with sink(receiver, token):
            await until(lambda: len(numbers(receiver)) == 2)
    assert numbers(receiver) == [1, 2]
    assert await spooled(token) == []


async def test_the_end_sends_what_has_just_come(token: Path) -> None:
    with Receiver() as receiver:
        async with sink(receiver, token) as splunk:
            splunk.record("t", {"number": 1})
    assert numbers(receiver) == [1]
    assert await spooled(token) == []


async def test_the_end_does_not_wait_for_a_collector_that_hangs(token: Path) -> None:
    with Receiver() as receiver:
        receiver.released.clear()
        made = SplunkSink(await settings(receiver, token, timeout=60), token.parent / "splunk")
        made.start()
        made.record("t", {"number": 1})
        await until(lambda: receiver.requests)
        clock = time.monotonic()
        await made.close(0.2)
        assert time.monotonic() - clock < 5
        (kept,) = await spooled(token)
        assert b'"number":1' in await to_thread.run_sync(kept.read_bytes)


async def test_processes_that_share_the_folder_do_not_send_twice(token: Path) -> None:
    receiver = Receiver()
    with receiver:
        pass
    async with sink(receiver, token) as splunk:
        for number in range(50):
            splunk.record("t", {"number": number})
            await until(lambda: splunk.trouble)
            await asyncio.sleep(0.002)
    with receiver:
        async with sink(receiver, token), sink(receiver, token), sink(receiver, token):
            await until(lambda: len(numbers(receiver)) >= 50)
    assert sorted(numbers(receiver)) == list(range(50))


async def test_too_large_a_batch_is_halved(token: Path, caplog: pytest.LogCaptureFixture) -> None:
    def small_only(received: Any) -> tuple[int, Any]:
        size = len(received.body)
        return (413, {}) if size > 1000 else (200, {})

    with Receiver(small_only) as receiver:
        async with sink(receiver, token) as splunk:
            for number in range(20):
                splunk.record("t", {"number": number, "text": "x" * (2000 if number == 7 else 10)})
            await until(lambda: 19 in numbers(receiver)[-1:])
    taken = {
        json.loads(line)["event"]["number"]
        for request in receiver.requests
        if len(request.body) <= 1000
        for line in request.body.splitlines()
    }
    assert taken == set(range(20)) - {7}
    assert "1 Splunk events are lost: 127.0.0.1 answered 413" in caplog.text


async def test_what_can_never_be_taken_does_not_block_the_rest(
    token: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with Receiver(lambda _: (400, {"text": "Event field is required", "code": 12})) as receiver:
        async with sink(receiver, token) as splunk:
            splunk.record("t", {"number": 1})
            await until(lambda: receiver.requests)
            await until(lambda: "lost" in caplog.text)
            receiver.answer = lambda _: (200, {})
            splunk.record("t", {"number": 2})
            await until(lambda: 2 in numbers(receiver))
    assert numbers(receiver) == [1, 2]


async def test_the_disk_is_not_filled(token: Path, caplog: pytest.LogCaptureFixture) -> None:
    receiver = Receiver()
    with receiver:
        pass
    async with sink(receiver, token, most_on_disk=5000) as splunk:
        for number in range(300):
            splunk.record("t", {"number": number})
        await until(lambda: "are lost" in caplog.text)
    assert sum(path.stat().st_size for path in await spooled(token)) <= 20_000
    with receiver:
        async with sink(receiver, token):
            await until(lambda: receiver.requests)
            await until(lambda: numbers(receiver)[-1] == 299)


async def test_without_a_disk_events_wait_in_memory(token: Path, caplog: pytest.LogCaptureFixture) -> None:
    await to_thread.run_sync((token.parent / "splunk").touch)  # no folder can be made
    receiver = Receiver()
    with receiver:
        pass
    with caplog.at_level(logging.WARNING):
        async with sink(receiver, token) as splunk:
            for number in range(130):
                splunk.record("t", {"number": number})
            await until(lambda: splunk.trouble)
            await asyncio.sleep(0.2)
            with receiver:
                await until(lambda: len(numbers(receiver)) == 130)
    assert numbers(receiver) == list(range(130))


async def test_a_token_that_is_missing_is_waited_for(token: Path) -> None:
    with Receiver() as receiver:
        made = await settings(receiver, token)
        await to_thread.run_sync(token.unlink)
        splunk = SplunkSink(made, token.parent / "splunk", pauses=(0.05,))
        splunk.start()
        splunk.record("t", {"number": 1})
        await until(lambda: splunk.trouble)
        assert "token" in (splunk.trouble or "")
        await to_thread.run_sync(token.write_text, "late-token")
        await until(lambda: receiver.requests)
        await splunk.close()
    assert receiver.requests[0].headers["authorization"] == "Splunk late-token"


async def test_certificates_are_checked_unless_that_is_switched_off(
    token: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    context = await to_thread.run_sync(partial(_server_context, token.parent))
    with Receiver(tls=context) as receiver:
        async with sink(receiver, token) as splunk:
            splunk.record("t", {"number": 1})
            await until(lambda: splunk.trouble)
            assert "CERTIFICATE_VERIFY_FAILED" in (splunk.trouble or "")
        assert receiver.requests == []
        async with sink(receiver, token, verify_ssl=False):
            await until(lambda: numbers(receiver) == [1])
        monkeypatch.setenv("SSL_CERT_FILE", str(token.parent / "authority.pem"))
        async with sink(receiver, token) as splunk:
            splunk.record("t", {"number": 2})
            await until(lambda: numbers(receiver) == [1, 2])


def _server_context(folder: Path) -> ssl.SSLContext:
    authority = Authority.make("Splunk")
    certificate, key = authority.server("127.0.0.1")
    (folder / "authority.pem").write_bytes(authority.certificate)
    (folder / "server.pem").write_bytes(certificate + key)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / "server.pem")
    return context


async def test_what_is_no_json_is_told_and_left_out(token: Path, caplog: pytest.LogCaptureFixture) -> None:
    with Receiver() as receiver:
        async with sink(receiver, token) as splunk:
            splunk.record("t", {"number": object()})
            splunk.record("t", {"number": 1})
            await until(lambda: receiver.requests)
    assert numbers(receiver) == [1]
    assert "cannot be written as JSON" in caplog.text
