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
def own_loggers_tell_all() -> None:
    """The stack, when it starts, and the command line set the levels of all loggers of the process."""
    logging.root.setLevel(logging.WARNING)
    logging.disable(logging.NOTSET)
    loggers = [
        found for found in logging.root.manager.loggerDict.values() if isinstance(found, logging.Logger)
    ]
    for logger in loggers:
        if logger.name.split(".")[0] in OWN_LOGGERS:
            logger.setLevel(logging.NOTSET)
            logger.disabled = False
            logger.propagate = True


@pytest.fixture(scope="session")
def postgresql() -> "Iterator[Postgresql]":
    """One server for each test process; tests make databases of their own."""
    from tests.postgresql import postgresql_server

    with postgresql_server() as server:
        yield server
