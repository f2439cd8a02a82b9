"""Disk work in a thread that nobody leaves behind."""

import asyncio
from collections.abc import Callable

import anyio


async def run_to_end[*Arguments, Result](
    function: Callable[[*Arguments], Result], *arguments: *Arguments
) -> Result:
    """Run in a worker thread. A caller that is cancelled meanwhile waits for its end, and is cancelled then.

    So a lock that the caller holds is held for as long as the thread works.
    """
    # Not a task: those are cancelled all at once when their loop ends.
    future = asyncio.get_running_loop().run_in_executor(None, function, *arguments)
    cancelled: asyncio.CancelledError | None = None
    with anyio.CancelScope(shield=True):
        while not future.done():
            try:
                await asyncio.wait([future])
            except asyncio.CancelledError as error:
                cancelled = error
    if cancelled is not None:
        future.exception()
        raise cancelled
    return future.result()
