import asyncio
import threading
from pathlib import Path

import anyio
import pytest

from lightspeed.storage.collection.lock import locked
from lightspeed.storage.collection.threads import run_to_end

pytestmark = pytest.mark.anyio


async def test_results_and_errors_come_back() -> None:
    assert await run_to_end(divmod, 7, 2) == (3, 1)
    with pytest.raises(ZeroDivisionError):
        await run_to_end(divmod, 7, 0)


@pytest.mark.parametrize("fails", [False, True])
async def test_who_is_cancelled_waits_for_the_thread(fails: bool) -> None:
    begun, may_end, ended = asyncio.Event(), threading.Event(), threading.Event()
    loop = asyncio.get_running_loop()

    def work() -> None:
        loop.call_soon_threadsafe(begun.set)
        assert may_end.wait(30)
        ended.set()
        if fails:
            raise OSError("too late to be of interest")

    task = asyncio.create_task(run_to_end(work))
    await begun.wait()
    for _ in range(2):
        task.cancel()
        await asyncio.wait([task], timeout=0.01)
        assert not task.done()
    may_end.set()
    await asyncio.wait([task])
    assert task.cancelled()
    assert ended.is_set()


async def test_a_scope_that_is_cancelled_waits_too() -> None:
    begun, may_end, ended = asyncio.Event(), threading.Event(), threading.Event()
    loop = asyncio.get_running_loop()

    def work() -> None:
        loop.call_soon_threadsafe(begun.set)
        assert may_end.wait(30)
        ended.set()

    async with anyio.create_task_group() as group:
        group.start_soon(run_to_end, work)
        await begun.wait()
        group.cancel_scope.cancel()
        loop.call_later(0.05, may_end.set)
    assert ended.is_set()


async def test_a_lock_is_for_one(tmp_path: Path) -> None:
    path = tmp_path / "made" / "a.lock"
    async with locked(path) as first:
        async with locked(path) as second:
            assert (first, second) == (True, False)
        async with locked(path) as third:
            assert not third
    async with locked(path) as again:
        assert again
