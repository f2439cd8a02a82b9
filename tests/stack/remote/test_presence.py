"""Whether the server is there, as it goes and comes."""

import asyncio
import logging

import anyio
import pytest

from lightspeed.errors import ProviderUnavailable
from lightspeed.stack.remote.failures import TooSlow
from lightspeed.stack.remote.presence import Presence

pytestmark = pytest.mark.anyio


class Server:
    def __init__(self) -> None:
        self.trouble: Exception | None = None
        self.asked = 0

    async def ask(self) -> str:
        self.asked += 1
        if self.trouble is not None:
            raise self.trouble
        return "0.7.3"


async def test_it_is_asked_once_and_again_only_after_a_doubt() -> None:
    server = Server()
    presence = Presence(server.ask, "it")
    await asyncio.gather(*(presence.require() for _ in range(5)))
    await presence.require()
    assert (server.asked, await presence.version()) == (1, "0.7.3")
    presence.doubt()
    assert not presence.is_known
    await presence.require()
    assert server.asked == 2


async def test_while_it_is_away_each_request_says_why(caplog: pytest.LogCaptureFixture) -> None:
    server = Server()
    presence = Presence(server.ask, "http://it")
    returned: list[bool] = []
    presence.on_return(lambda: returned.append(True))
    server.trouble = ProviderUnavailable("refused")
    with caplog.at_level(logging.WARNING):
        for _ in range(3):
            with pytest.raises(ProviderUnavailable, match="refused"):
                await presence.require()
        assert await presence.outage() == "refused"
        server.trouble = None
        await presence.require()
    assert await presence.outage() is None
    assert returned == [True]
    assert [record.message for record in caplog.records] == [
        "The Llama Stack server http://it cannot be used: refused",
        "The Llama Stack server http://it is there again",
    ]


async def test_a_busy_server_is_not_taken_for_one_that_is_away() -> None:
    server = Server()
    presence = Presence(server.ask, "it")
    await presence.require()
    server.trouble = TooSlow("late")
    presence.doubt()
    await presence.require()
    assert await presence.outage() is None


async def test_one_that_never_answered_in_time_is_away() -> None:
    server = Server()
    server.trouble = TooSlow("late")
    presence = Presence(server.ask, "it")
    with pytest.raises(ProviderUnavailable):
        await presence.require()


async def test_it_is_found_in_the_background() -> None:
    server = Server()
    server.trouble = ProviderUnavailable("refused")
    presence = Presence(server.ask, "it")
    back = asyncio.Event()
    presence.on_return(back.set)
    with pytest.raises(ProviderUnavailable):
        await presence.require()
    presence.watch()
    server.trouble = None
    with anyio.fail_after(5):
        await back.wait()
    await presence.close()
