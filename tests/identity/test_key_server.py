"""Fetching keys: once, in time, and what happens while the server is away."""

import asyncio
import logging
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from anyio import to_thread

from lightspeed.configuration.authentication import JwkConfiguration
from lightspeed.errors import RequestError, Unavailable
from lightspeed.identity.key_server import KeyServer
from tests.clock import Clock
from tests.identity.jwks_server import JwksServer, jwks_server
from tests.identity.signing import key_set, signing_key

pytestmark = pytest.mark.anyio

KEY = signing_key("ES256").jwk(kid="k")
UNREACHABLE = (503, "Unable to reach authentication key server")
MALFORMED = (401, "Authentication keys are malformed")
NO_DATA = (401, "Authentication key server returned invalid data")


@pytest.fixture
def server() -> Iterator[JwksServer]:
    with jwks_server(key_set(KEY)) as running:
        yield running


@pytest.fixture
def clock() -> Clock:
    return Clock()


@asynccontextmanager
async def key_server(server: JwksServer, clock: Clock, **settings: Any) -> AsyncIterator[KeyServer]:
    # In a thread: it looks whether files are there.
    configuration = await to_thread.run_sync(JwkConfiguration.model_validate, {"url": server.url} | settings)
    keys = KeyServer(configuration, clock)
    try:
        yield keys
    finally:
        await keys.close()


async def failure(keys: KeyServer) -> tuple[int, str]:
    with pytest.raises(RequestError) as caught:
        await keys.keys()
    return caught.value.status, caught.value.cause


def fetches() -> set[asyncio.Task[Any]]:
    """What goes on in the background."""
    return {task for task in asyncio.all_tasks() if task.get_name() == "keys of tokens"}


async def settled() -> None:
    """Wait for the fetch in the background."""
    assert len(fetches()) == 1
    await asyncio.wait(fetches())


async def test_keys_are_kept(server: JwksServer, clock: Clock) -> None:
    async with key_server(server, clock) as keys:
        assert server.requests == 0
        first = await keys.keys()
        clock.now += 3599
        assert await keys.keys() is first
        assert server.requests == 1
        clock.now += 1
        assert await keys.keys() is not first
        assert server.requests == 2


async def test_many_requests_share_one_fetch(server: JwksServer, clock: Clock) -> None:
    server.released.clear()
    async with key_server(server, clock) as keys:
        asking = [asyncio.create_task(keys.keys()) for _ in range(50)]
        await to_thread.run_sync(server.asked.wait)
        # One who goes away ends neither the fetch nor the others.
        asking[0].cancel()
        server.released.set()
        found = await asyncio.gather(*asking[1:])
        assert len({id(one) for one in found}) == 1
        assert asking[0].cancelled()
        again = await asyncio.gather(*(keys.keys_after(found[0]) for _ in range(50)))
        assert {id(one) for one in again} == {id(found[0])}
        assert server.requests == 1
        clock.now += 5
        again = await asyncio.gather(*(keys.keys_after(found[0]) for _ in range(50)))
        assert len({id(one) for one in again} - {id(found[0])}) == 1
        assert server.requests == 2


async def test_an_unknown_key_asks_the_server_again_but_not_all_the_time(
    server: JwksServer, clock: Clock
) -> None:
    async with key_server(server, clock) as keys:
        first = await keys.keys()
        server.answer_json(key_set(KEY, signing_key("RS256").jwk(kid="new")))
        clock.now += 4.9
        assert await keys.keys_after(first) is first
        clock.now += 0.1
        second = await keys.keys_after(first)
        assert len(second.keys) == 2
        assert await keys.keys_after(first) is second
        assert await keys.keys_after(second) is second
        assert server.requests == 2


async def test_keys_are_used_on_while_the_server_is_away(
    server: JwksServer, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "lightspeed.identity")
    async with key_server(server, clock, keys_cache_seconds=60, keys_stale_seconds=600) as keys:
        known = await keys.keys()
        await to_thread.run_sync(server.stop)
        clock.now += 61
        assert await keys.keys() is known
        warnings = [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]
        assert len(warnings) == 1
        assert "127.0.0.1 gave no keys" in warnings[0]
        assert "those of 61 s ago are used on" in warnings[0]
        clock.now += 30
        assert await keys.keys() is known
        await settled()

        await to_thread.run_sync(server.start)
        clock.now += 5
        assert await keys.keys() is known  # The fetch goes on in the background.
        await settled()
        fresh = await keys.keys()
        assert fresh is not known
        assert "answers again" in caplog.text

        await to_thread.run_sync(server.stop)
        clock.now += 659
        assert await keys.keys() is fresh
        clock.now += 1
        assert await failure(keys) == UNREACHABLE
        assert len([record for record in caplog.records if record.levelno == logging.WARNING]) == 2


async def test_nobody_waits_for_a_server_that_hung_last_time(server: JwksServer, clock: Clock) -> None:
    async with key_server(server, clock, timeout_seconds=1, keys_cache_seconds=60) as keys:
        known = await keys.keys()
        server.released.clear()
        clock.now += 60
        assert await keys.keys() is known
        assert server.requests == 2
        clock.now += 60
        assert await keys.keys() is known
        assert fetches()  # It goes on: nobody has waited for it.


async def test_an_unknown_key_while_the_server_is_away(server: JwksServer, clock: Clock) -> None:
    async with key_server(server, clock) as keys:
        known = await keys.keys()
        await to_thread.run_sync(server.stop)
        clock.now += 5
        for _ in range(2):
            with pytest.raises(Unavailable, match="Unable to reach authentication key server") as caught:
                await keys.keys_after(known)
            assert int(caught.value.headers["Retry-After"]) > 0
        assert await keys.keys() is known
        await to_thread.run_sync(server.start)
        clock.now += 5
        assert await keys.keys_after(known) is not known


async def test_no_server_from_the_start(server: JwksServer, clock: Clock) -> None:
    await to_thread.run_sync(server.stop)
    async with key_server(server, clock) as keys:
        assert await failure(keys) == UNREACHABLE
        await to_thread.run_sync(server.start)
        clock.now += 0.9
        assert await failure(keys) == UNREACHABLE
        assert server.requests == 0
        clock.now += 0.1
        assert len((await keys.keys()).keys) == 1


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        ({"status": 404}, UNREACHABLE),
        ({"status": 500}, UNREACHABLE),
        ({"status": 301, "location": "/elsewhere"}, UNREACHABLE),
        ({"kind": "text/html; charset=utf-8"}, UNREACHABLE),
        ({"kind": "application/json-seq"}, UNREACHABLE),
        ({"kind": None}, UNREACHABLE),
        ({"body": b"<html>"}, NO_DATA),
        ({"body": b""}, NO_DATA),
        ({"body": b'{"keys": [' + b" " * 1024 * 1024 + b"]}"}, NO_DATA),
        ({"body": b"[]"}, MALFORMED),
        ({"body": b"{}"}, MALFORMED),
        ({"body": b'{"keys": [{"kty": "X"}]}'}, MALFORMED),
    ],
    ids=lambda value: str(value)[:60],
)
async def test_an_answer_without_keys(
    server: JwksServer, clock: Clock, answer: dict[str, Any], expected: tuple[int, str]
) -> None:
    async with key_server(server, clock, keys_cache_seconds=60) as keys:
        server.answer(**({"body": b'{"keys": []}'} | answer))
        assert await failure(keys) == expected
        server.answer_json(key_set(KEY))
        clock.now += 1
        known = await keys.keys()
        server.answer(**({"body": b'{"keys": []}'} | answer))
        clock.now += 61
        assert await keys.keys() is known
        with pytest.raises(RequestError) as caught:
            await keys.keys_after(known)
        assert (caught.value.status, caught.value.cause) == expected


@pytest.mark.parametrize(
    "kind", ["application/json; charset=utf-8", "application/jwk-set+json", "APPLICATION/JSON"]
)
async def test_kinds_of_json(server: JwksServer, clock: Clock, kind: str) -> None:
    server.answer(b'{"keys": []}', kind=kind)
    async with key_server(server, clock) as keys:
        assert (await keys.keys()).keys == ()


async def test_a_server_that_does_not_answer(server: JwksServer, clock: Clock) -> None:
    server.released.clear()
    async with key_server(server, clock, timeout_seconds=1) as keys:
        assert await failure(keys) == UNREACHABLE


async def test_certificates_that_cannot_be_read(server: JwksServer, clock: Clock, tmp_path: Path) -> None:
    certificates = tmp_path / "ca.pem"
    certificates.write_text("no certificates")
    async with key_server(server, clock, ca_cert_path=certificates) as keys:
        assert await failure(keys) == UNREACHABLE


async def test_closing_ends_a_fetch(server: JwksServer, clock: Clock) -> None:
    server.released.clear()
    async with key_server(server, clock) as keys:
        asking = asyncio.create_task(keys.keys())
        await to_thread.run_sync(server.asked.wait)
        await keys.close()
        with pytest.raises(Unavailable):
            await asking
