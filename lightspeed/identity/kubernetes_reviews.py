"""Answers about tokens, kept for a few seconds."""

import asyncio
import hashlib
import time
from collections.abc import Callable, Coroutine
from typing import Any

MOST_KEPT = 1024  # answers


class TokenReviews[ResultT]:
    """One review at a time for one token. Only good answers are kept, under digests, not the tokens themselves."""

    def __init__(
        self,
        review: Callable[[str], Coroutine[Any, Any, ResultT]],
        *,
        kept_for: float,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`review` raises for a token that is not good. `kept_for` in seconds; 0: nothing is kept."""
        self._review = review
        self._kept_for = kept_for
        self._clock = clock
        self._kept: dict[bytes, tuple[float, ResultT]] = {}  # until when; the oldest first
        self._running: dict[bytes, asyncio.Task[ResultT]] = {}

    async def __call__(self, token: str) -> ResultT:
        """The answer about a token. Raises what `review` raises."""
        key = hashlib.sha256(token.encode()).digest()
        kept = self._kept.get(key)
        if kept is not None and self._clock() < kept[0]:
            return kept[1]
        task = self._running.get(key)
        if task is None:
            task = self._running[key] = asyncio.create_task(self._reviewed(key, token))
            task.add_done_callback(_heard)
        # One who gives up does not take the answer from the others.
        return await asyncio.shield(task)

    async def close(self) -> None:
        tasks = list(self._running.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _reviewed(self, key: bytes, token: str) -> ResultT:
        try:
            answer = await self._review(token)
        finally:
            del self._running[key]
        self._keep(key, answer)
        return answer

    def _keep(self, key: bytes, answer: ResultT) -> None:
        if not self._kept_for:
            return
        now = self._clock()
        self._kept.pop(key, None)
        while self._kept:
            oldest = next(iter(self._kept))
            if len(self._kept) < MOST_KEPT and now < self._kept[oldest][0]:
                break
            del self._kept[oldest]
        self._kept[key] = (now + self._kept_for, answer)


def _heard(task: asyncio.Task[Any]) -> None:
    """An error that nobody waits for any more is no complaint of the event loop."""
    if not task.cancelled():
        task.exception()
