"""Rules that hold for every test: asyncio only, and no blocking call inside the event loop."""

import logging
from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest
from blockbuster import BlockBuster, blockbuster_ctx

from lightspeed.telemetry.logging import OWN_LOGGERS

if TYPE_CHECKING:
    from tests.postgresql import Postgresql


@pytest.fixture(scope="session")
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture(autouse=True)
def no_blocking_calls() -> Iterator[BlockBuster]:
    with blockbuster_ctx("lightspeed") as blockbuster:
        for function in blockbuster.functions.values():
            # The stack's own start does a little file work; it happens once, before the first question.
            function.can_block_in("lightspeed/stack/client.py", {"initialize"})
        yield blockbuster


@pytest.fixture(autouse=True)
def same_logging() -> Iterator[None]:
    """What a test changes of the process's logging ends with it."""
    loggers = [logging.getLogger(name) for name in ("", *OWN_LOGGERS)]
    before = [(logger, logger.level, list(logger.handlers)) for logger in loggers]
    yield
    for logger, level, handlers in before:
        logger.setLevel(level)
        logger.handlers[:] = handlers


@pytest.fixture(scope="session")
def postgresql() -> "Iterator[Postgresql]":
    """One server for each test process; tests make databases of their own."""
    from tests.postgresql import postgresql_server

    with postgresql_server() as server:
        yield server
