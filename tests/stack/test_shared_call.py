"""One call for all who ask at the same time."""

import asyncio

import pytest

from lightspeed.stack.shared_call import SharedCall

pytestmark = pytest.mark.anyio


class Counted:
    def __init__(self) -> None:
        self.calls = 0
        self.go_on = asyncio.Event()
        self.error: Exception | None = None

    async def __call__(self) -> int:
        self.calls += 1
        await self.go_on.wait()
        if self.error is not None:
            raise self.error
        return self.calls


async def test_all_who_ask_meanwhile_share_the_result() -> None:
    counted = Counted()
    call = SharedCall(counted)
    asked = [asyncio.create_task(call()) for _ in range(3)]
    await asyncio.sleep(0)
    counted.go_on.set()
    assert await asyncio.gather(*asked) == [1, 1, 1]
    assert await call() == 2


async def test_an_error_is_shared_and_not_kept() -> None:
    counted = Counted()
    counted.error = ValueError("no")
    call = SharedCall(counted)
    counted.go_on.set()
    asked = [asyncio.create_task(call()) for _ in range(2)]
    for result in await asyncio.gather(*asked, return_exceptions=True):
        assert isinstance(result, ValueError)
    counted.error = None
    assert await call() == 2


async def test_one_who_gives_up_does_not_take_it_from_the_others() -> None:
    counted = Counted()
    call = SharedCall(counted)
    impatient, patient = asyncio.create_task(call()), asyncio.create_task(call())
    await asyncio.sleep(0)
    impatient.cancel()
    counted.go_on.set()
    assert await patient == 1
