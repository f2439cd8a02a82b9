from collections.abc import Iterator

import pytest

from tests.mcp_servers import McpAddress, mcp_server


@pytest.fixture(scope="module", params=["http", "json", "sse"])
def any_kind(request: pytest.FixtureRequest) -> Iterator[McpAddress]:
    with mcp_server(request.param) as address:
        yield address


@pytest.fixture
def address() -> Iterator[McpAddress]:
    with mcp_server() as running:
        yield running
