"""Servers of users, as far as the configuration still allows them."""

from collections.abc import AsyncIterator
from datetime import UTC, datetime
from typing import Any

import pytest

from lightspeed.configuration.root import Configuration
from lightspeed.storage.database import Database
from lightspeed.storage.mcp_servers import RegisteredServers
from lightspeed.storage.registered_server import RegisteredServer
from lightspeed.tools.mcp.server import McpServer
from lightspeed.tools.user_servers import UserServers

pytestmark = pytest.mark.anyio


@pytest.fixture
async def registered() -> AsyncIterator[RegisteredServers]:
    database = Database.in_memory()
    await database.open()
    servers = RegisteredServers(database)
    for name, source in (("tickets", "client"), ("cluster", "kubernetes")):
        added = RegisteredServer(
            name=name,
            user_id="alice",
            url=f"https://{name}.example.com/mcp?a=b",
            provider_id="own",
            created_at=datetime.now(UTC),
            authorization_headers={"Authorization": source},
            headers=("X-Tenant",),
            timeout=7,
        )
        assert await servers.add(added, limit=9) == "added"
    yield servers
    await database.close()


def users(registered: RegisteredServers, **sections: Any) -> UserServers:
    least = {"name": "n", "service": {}, "llama_stack": {"url": "http://s"}, "user_data_collection": {}}
    allowed = {"mcp_registration": {"enabled": True}}
    return UserServers(registered, Configuration.model_validate({**least, **allowed, **sections}))


async def names(users: UserServers, user_id: str = "alice") -> list[str]:
    return [server.name for server in await users.of(user_id)]


async def test_a_server_as_the_tools_see_it(registered: RegisteredServers) -> None:
    assert await users(registered).of("alice") == [
        McpServer(
            name="tickets",
            url="https://tickets.example.com/mcp?a=b",
            authorization_headers={"Authorization": "client"},
            headers=("X-Tenant",),
            require_approval="never",
            timeout=7,
            source="api",
            provider_id="own",
        )
    ]
    assert await names(users(registered), "bob") == []


async def test_what_the_configuration_no_longer_allows(registered: RegisteredServers) -> None:
    assert await names(users(registered, mcp_registration={})) == []
    token = {"module": "noop-with-token"}
    assert await names(users(registered, authentication=token)) == ["tickets", "cluster"]
    taken = [{"name": "tickets", "url": "http://other/mcp"}]
    assert await names(users(registered, authentication=token, mcp_servers=taken)) == ["cluster"]
