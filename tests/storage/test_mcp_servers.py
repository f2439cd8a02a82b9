import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import URL

from lightspeed.errors import StorageError
from lightspeed.storage.database import Database
from lightspeed.storage.mcp_servers import RegisteredServers
from lightspeed.storage.registered_server import RegisteredServer

pytestmark = pytest.mark.anyio

BEGINNING = datetime(2030, 1, 2, 3, 4, 5, 678901, tzinfo=UTC)


def a_server(name: str, user_id: str = "alice", seconds: int = 0, **changes: Any) -> RegisteredServer:
    given: dict[str, Any] = {
        "url": f"https://{name}.example.com/mcp",
        "provider_id": "model-context-protocol",
        "created_at": BEGINNING + timedelta(seconds=seconds),
        "authorization_headers": {},
    }
    return RegisteredServer(name, user_id, **given | changes)


@pytest.fixture
def servers(database: Database) -> RegisteredServers:
    return RegisteredServers(database)


async def test_a_server_is_kept_as_it_was_given(servers: RegisteredServers) -> None:
    full = a_server(
        "tickets of Zoë 🎫",
        authorization_headers={"Authorization": "oauth", "X-Key": "client"},
        headers=("X-Trace", "X-Tenant"),
        timeout=86_400,
    )
    assert await servers.add(full, limit=1) == "added"
    assert await servers.owned("alice") == [full]


async def test_a_server_belongs_to_who_added_it(servers: RegisteredServers) -> None:
    late, early, theirs = a_server("b", seconds=2), a_server("c", seconds=1), a_server("a", "bob")
    for server in (late, early, theirs):
        assert await servers.add(server, limit=2) == "added"
    assert await servers.owned("alice") == [early, late]
    assert await servers.owned("carol") == []
    assert await servers.owned(None) == [theirs, early, late]


async def test_a_name_is_taken_for_everyone(servers: RegisteredServers) -> None:
    first = a_server("tickets")
    assert await servers.add(first, limit=1) == "added"
    assert await servers.add(a_server("tickets", url="https://evil.example"), limit=9) == "taken"
    assert await servers.add(a_server("tickets", "bob"), limit=9) == "taken"
    # Also for those who could not add one of another name.
    assert await servers.add(a_server("tickets"), limit=1) == "taken"
    assert await servers.owned(None) == [first]
    assert await servers.add(a_server("Tickets", "bob"), limit=9) == "added"


async def test_a_user_has_a_limit(servers: RegisteredServers) -> None:
    assert await servers.add(a_server("a"), limit=2) == "added"
    assert await servers.add(a_server("b"), limit=2) == "added"
    assert await servers.add(a_server("c"), limit=2) == "full"
    assert await servers.add(a_server("c", "bob"), limit=2) == "added"
    assert await servers.remove("a", "alice")
    assert await servers.add(a_server("d"), limit=2) == "added"
    assert [server.name for server in await servers.owned("alice")] == ["b", "d"]


async def test_only_the_owner_removes_a_server(servers: RegisteredServers) -> None:
    for name in ("a", "b", "c"):
        await servers.add(a_server(name), limit=9)
    assert not await servers.remove("a", "bob")
    assert not await servers.remove("unknown", "alice")
    assert await servers.remove("a", "alice")
    assert not await servers.remove("a", "alice")
    # An administrator.
    assert await servers.remove("b", None)
    assert await servers.erase_user("bob") == 0
    assert await servers.erase_user("alice") == 1
    assert await servers.owned(None) == []


async def test_two_processes_at_once(place: URL, database: Database) -> None:
    other = Database(place)
    await other.open()
    try:
        workers = [RegisteredServers(database), RegisteredServers(other)]
        same = [workers[n % 2].add(a_server("tickets", f"user {n}"), limit=1) for n in range(8)]
        assert sorted(await asyncio.gather(*same)) == ["added"] + ["taken"] * 7
        own = [workers[n % 2].add(a_server(f"server {n}", "bob"), limit=3) for n in range(8)]
        assert sorted(await asyncio.gather(*own)) == ["added"] * 3 + ["full"] * 5
        # What one of them writes, the other one sees at once.
        assert await workers[0].owned(None) == await workers[1].owned(None)
        await workers[0].erase_user("bob")
        assert await workers[1].owned("bob") == []
    finally:
        await other.close()


async def test_a_database_that_is_closed(database: Database) -> None:
    servers = RegisteredServers(database)
    await database.close()
    with pytest.raises(StorageError):
        await servers.owned("alice")
    with pytest.raises(StorageError):
        await servers.add(a_server("a"), limit=1)
