"""Rules that hold for every test: asyncio only, and no blocking call inside the event loop."""

from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest
from blockbuster import BlockBuster, blockbuster_ctx

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


@pytest.fixture(scope="session")
def postgresql() -> "Iterator[Postgresql]":
    """One server for each test process; tests make databases of their own."""
    from tests.postgresql import postgresql_server

    with postgresql_server() as server:
        yield server
