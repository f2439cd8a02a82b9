"""Something that happens once."""

import asyncio
from concurrent.futures import Future, InvalidStateError
from contextlib import suppress


class Moment:
    """Happens once and stays happened. Set and awaited from any event loop and any thread.

    The waits raise TimeoutError after `timeout` seconds; `None` waits without end.
    """

    def __init__(self) -> None:
        self._future: Future[None] = Future()

    def set(self) -> None:
        with suppress(InvalidStateError):
            self._future.set_result(None)

    def is_set(self) -> bool:
        return self._future.done()

    async def wait(self, timeout: float | None = 30) -> None:
        # The shield keeps a cancelled waiter from cancelling the future that others wait for.
        await asyncio.wait_for(asyncio.shield(asyncio.wrap_future(self._future)), timeout)

    def wait_blocking(self, timeout: float | None = 30) -> None:
        self._future.result(timeout)
