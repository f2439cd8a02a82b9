"""A vector store whose database another writer holds."""

import logging
from collections.abc import Awaitable, Callable, Sequence
from typing import Final

import anyio

from lightspeed.errors import RequestError, StorageError

logger = logging.getLogger(__name__)

PAUSES: Final = (0.5, 1.0)  # seconds before a locked database is tried again


async def patiently[ResultT](
    attempt: Callable[[], Awaitable[ResultT]], store_id: str, pauses: Sequence[float]
) -> ResultT:
    """Try again after each of the pauses, in seconds. Raises StorageError if the store stays locked."""
    for pause in (*pauses, None):
        try:
            return await attempt()
        except RequestError as error:
            if not _is_locked(error):
                raise
            logger.warning("Vector store %s is locked by another writer", store_id)
            if pause is None:
                raise StorageError(
                    "All retry attempts failed to create the vector store file",
                    response="Failed to create vector store file",
                ) from error
        await anyio.sleep(pause)
    raise AssertionError("unreachable")


def _is_locked(error: RequestError) -> bool:
    causes = (error.cause, str(error.__cause__ or ""))
    return any("locked" in cause.lower() for cause in causes)
