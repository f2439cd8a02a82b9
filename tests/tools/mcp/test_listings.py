"""When servers are asked for their tools, by a clock that the test turns."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from lightspeed.tools.caller import Caller
from lightspeed.tools.mcp.failure import McpFailure
from lightspeed.tools.mcp.headers import HeaderResolver, ResolvedHeaders
from lightspeed.tools.mcp.listings import Listings, Tools
from lightspeed.tools.mcp.server import McpServer
from lightspeed.tools.tool import ListedTool

pytestmark = pytest.mark.anyio

SERVER = McpServer("s", "http://s/mcp", authorization_headers={"X-Key": "client"})
DOWN = McpFailure("unreachable", "cannot be reached")


class Source:
    """Lists tools as it is told, and counts how often it was asked."""

    def __init__(self, patience: float = 0.05) -> None:
        self.now = 1000.0
        self.asked: list[str] = []
        self.failure: McpFailure | None = None
        self.released = asyncio.Event()
        self.released.set()
        self.listings = Listings(self.load, patience=patience, clock=lambda: self.now)

    async def load(self, server: McpServer, headers: ResolvedHeaders) -> Tools:
        self.asked.append(headers.lasting.get("X-Key", ""))
        await self.released.wait()
        if self.failure is not None:
            raise self.failure
        return (ListedTool(f"tool{len(self.asked)}", "", {}),)

    async def names(self, key: str = "k") -> list[str] | str:
        """The tools' names, or the kind of failure."""
        found = await self.listings.tools(SERVER, await with_key(key))
        return found.kind if isinstance(found, McpFailure) else [tool.name for tool in found]

    async def settle(self) -> None:
        for _ in range(5):
            await asyncio.sleep(0)


async def with_key(key: str) -> ResolvedHeaders:
    [headers] = await HeaderResolver().resolve([SERVER], Caller("u", server_headers={"s": {"X-Key": key}}))
    return headers


@pytest.fixture
async def source() -> AsyncIterator[Source]:
    made = Source()
    yield made
    await made.listings.close()


async def test_a_list_is_asked_for_once(source: Source) -> None:
    assert await source.names() == ["tool1"]
    source.now += 299
    assert await source.names() == ["tool1"]
    assert len(source.asked) == 1


async def test_turns_at_the_same_time_share_the_loading(source: Source) -> None:
    assert await asyncio.gather(*(source.names() for _ in range(5))) == [["tool1"]] * 5
    assert len(source.asked) == 1


async def test_each_credential_has_its_own_list(source: Source) -> None:
    assert await source.names("a") == ["tool1"]
    assert await source.names("b") == ["tool2"]
    assert source.asked == ["a", "b"]


async def test_an_old_list_serves_while_it_is_loaded_anew(source: Source) -> None:
    await source.names()
    source.now += 301
    assert await source.names() == ["tool1"]
    await source.settle()
    assert await source.names() == ["tool2"]


async def test_a_very_old_list_is_waited_for(source: Source) -> None:
    await source.names()
    source.now += 601
    assert await source.names() == ["tool2"]


async def test_a_list_that_has_changed_is_loaded_anew(source: Source) -> None:
    await source.names()
    source.listings.changed((await with_key("k")).digest(SERVER))
    assert await source.names() == ["tool2"]
    assert await source.names() == ["tool2"]


async def test_a_slow_list_is_missing_until_it_is_there(source: Source) -> None:
    source.released.clear()
    assert await source.names() == "slow"
    source.now += 1
    assert await source.names() == "slow"
    source.released.set()
    await source.settle()
    assert await source.names() == ["tool1"]
    assert len(source.asked) == 1


async def test_the_wait_counts_from_the_beginning_of_the_loading(source: Source) -> None:
    source.released.clear()
    source.listings.begin(SERVER, await with_key("k"))
    source.now += 10
    known = source.listings.known(SERVER, await with_key("k"))
    assert isinstance(known, asyncio.Task)
    assert await source.names() == "slow"


async def test_a_server_that_is_away_is_not_asked_again_for_a_while(source: Source) -> None:
    source.failure = DOWN
    assert await source.names() == "unreachable"
    source.now += 29
    assert [await source.names() for _ in range(3)] == ["unreachable"] * 3
    assert len(source.asked) == 1


async def test_a_server_that_is_away_is_asked_again_behind_the_turn(source: Source) -> None:
    source.failure = DOWN
    await source.names()
    source.failure = None
    source.now += 31
    assert await source.names() == "unreachable"
    await source.settle()
    assert await source.names() == ["tool2"]


async def test_pauses_grow_up_to_five_minutes(source: Source) -> None:
    source.failure = DOWN
    await source.names()
    for pause in (30, 60, 120, 240, 300, 300):
        asked = len(source.asked)
        source.now += pause - 1
        await source.names()
        await source.settle()
        assert len(source.asked) == asked
        source.now += 1
        await source.names()
        await source.settle()
        assert len(source.asked) == asked + 1


async def test_pauses_start_again_after_a_success(source: Source) -> None:
    source.failure = DOWN
    await source.names()
    source.now += 30
    await source.names()
    await source.settle()
    source.failure = None
    source.now += 60
    await source.names()
    await source.settle()
    assert await source.names() == ["tool3"]
    source.failure = DOWN
    source.now += 601
    assert await source.names() == "unreachable"
    source.now += 30
    await source.names()
    await source.settle()
    assert len(source.asked) == 5


async def test_a_server_that_is_away_is_away_for_everyone(source: Source) -> None:
    source.failure = DOWN
    await source.names("a")
    assert await source.names("b") == "unreachable"
    assert source.asked == ["a"]


@pytest.mark.parametrize("kind", ["status", "garbled", "unauthorized"])
async def test_an_answer_to_one_credential_says_nothing_of_others(source: Source, kind: str) -> None:
    source.failure = McpFailure(kind, "says no")  # type: ignore[arg-type]
    assert await source.names("a") == kind
    source.failure = None
    assert await source.names("b") == ["tool2"]
    assert await source.names("a") == kind
    assert source.asked == ["a", "b"]


async def test_a_refused_credential_is_tried_again_before_the_turn_goes_on(source: Source) -> None:
    source.failure = McpFailure("unauthorized", "says no")
    await source.names()
    source.failure = None
    source.now += 31
    assert await source.names() == ["tool2"]


async def test_a_call_that_finds_nobody_counts(source: Source) -> None:
    await source.names()
    source.listings.failed(SERVER, await with_key("k"), DOWN)
    assert await source.names() == "unreachable"
    assert len(source.asked) == 1


async def test_a_call_that_was_only_slow_does_not_count(source: Source) -> None:
    await source.names()
    source.listings.failed(SERVER, await with_key("k"), McpFailure("slow", "did not answer"))
    assert await source.names() == ["tool1"]


async def test_one_turn_waits_in_vain_and_not_each_user() -> None:
    source = Source(patience=1000)
    source.released.clear()
    try:
        first = asyncio.create_task(source.names("a"))
        await source.settle()
        source.now += 1001
        async with asyncio.timeout(10):
            assert await source.names("a") == "slow"
            assert await source.names("b") == "slow"
            # Its list is loaded all the same, and with the end of what was late others wait again.
            source.released.set()
            assert await first == ["tool2"]
            assert await source.names("b") == ["tool2"]
            assert await source.names("c") == ["tool3"]
    finally:
        await source.listings.close()
