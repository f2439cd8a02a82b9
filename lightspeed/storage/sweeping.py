"""Removing what is too old, now and then, for as long as the service runs."""

import logging
import random
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from typing import Any

import anyio

from lightspeed.errors import StorageError

logger = logging.getLogger(__name__)

FIRST_AFTER = 60.0  # seconds
EVERY = 3600.0


async def sweep(
    apply: Callable[[datetime], Awaitable[Any]],
    what: str,
    *,
    first_after: float = FIRST_AFTER,
    every: float = EVERY,
) -> None:
    """Call `apply` with the time again and again until cancelled. Times are in seconds.

    Errors end up in the log; `what` names there, in the plural, what is removed.
    """
    # Not all processes at the same moment.
    await anyio.sleep(first_after * random.uniform(0.5, 1.5))  # noqa: S311 - no secret
    while True:
        try:
            await apply(datetime.now(UTC))
        except StorageError:
            logger.error("%s cannot be removed now; it is tried again later", what)
        except Exception:
            logger.exception("%s cannot be removed", what)
        await anyio.sleep(every)
