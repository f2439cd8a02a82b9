"""How often one caller may ask."""

import math
import time
from collections import OrderedDict
from collections.abc import Callable

from lightspeed.errors import TooManyRequests

_MOST_CALLERS = 10_000


class RateLimit:
    """A token bucket for each caller: a minute's worth at once, and then as many as a minute allows.

    Of very many callers those are forgotten that have rested longest. Each process counts for itself.
    """

    def __init__(self, per_minute: int, clock: Callable[[], float] = time.monotonic) -> None:
        """`clock` tells seconds."""
        self._capacity = per_minute
        self._clock = clock
        self._buckets: OrderedDict[str, tuple[float, float]] = OrderedDict()  # what is left, and when

    def take(self, user_id: str) -> None:
        """Count a request. Raises TooManyRequests, which says when the next one is welcome."""
        now = self._clock()
        left, seen = self._buckets.pop(user_id, (float(self._capacity), now))
        left = min(self._capacity, left + (now - seen) * self._capacity / 60)
        allowed = left >= 1
        self._buckets[user_id] = (left - 1 if allowed else left, now)
        if len(self._buckets) > _MOST_CALLERS:
            self._buckets.popitem(last=False)
        if not allowed:
            wait = math.ceil((1 - left) * 60 / self._capacity)
            raise TooManyRequests(
                f"User {user_id} may send {self._capacity} requests a minute.",
                response="Too many requests",
                headers={"Retry-After": str(wait)},
            )
