"""A call that is made once for all who want its result at the same time."""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any


class SharedCall[ResultT]:
    """Whoever asks while the call is under way gets the same result, or the same error."""

    def __init__(self, call: Callable[[], Coroutine[Any, Any, ResultT]]) -> None:
        self._call = call
        self._task: asyncio.Task[ResultT] | None = None

    async def __call__(self) -> ResultT:
        if self._task is None or self._task.done():
            self._task = asyncio.create_task(self._call())
            self._task.add_done_callback(_heard)
        # One who gives up does not take the result from the others.
        return await asyncio.shield(self._task)

    def close(self) -> None:
        if self._task is not None:
            self._task.cancel()


def _heard(task: asyncio.Task[Any]) -> None:
    """An error that nobody waits for any more is no complaint of the event loop."""
    if not task.cancelled():
        task.exception()
