"""Adding, listing and deleting MCP servers: who may, whose they are, and what is refused."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from lightspeed.documents import addresses
from lightspeed.storage.database import Database
from lightspeed.storage.mcp_servers import RegisteredServers
from tests.api.conftest import NOBODY, ROOT
from tests.api.mcp_service import JWK, McpService, configured, mcp_service, open_for_all, registered_servers

pytestmark = pytest.mark.anyio

PATH = "/v1/mcp-servers"
STATIC: list[dict[str, Any]] = [
    {"name": "ops", "url": "https://u5er:pa55@ops.example.com/mcp?token=5ecret", "provider_id": "own"},
    {
        "name": "cluster",
        "url": "http://cluster/mcp",
        "authorization_headers": {"Authorization": "kubernetes"},
    },
]
TICKETS = {"name": "tickets", "url": "http://127.0.0.1:8000/mcp?tenant=blue"}
LISTED = TICKETS | {"provider_id": "model-context-protocol", "source": "api"}
OPS = {"name": "ops", "url": "https://ops.example.com/mcp", "provider_id": "own", "source": "config"}
TAKEN = {
    "detail": {
        "response": "Mcp Server already exists",
        "cause": "Mcp Server with name 'tickets' is already registered",
    }
}


@pytest.fixture(scope="module")
async def kept() -> AsyncIterator[RegisteredServers]:
    async with registered_servers() as servers:
        yield servers


@pytest.fixture
async def servers(kept: RegisteredServers) -> RegisteredServers:
    """Without any."""
    for server in await kept.owned(None):
        await kept.remove(server.name, None)
    return kept


@pytest.fixture
def mcp(servers: RegisteredServers) -> McpService:
    return mcp_service(configured(mcp_servers=STATIC, mcp_registration=open_for_all()), servers)


def opened(servers: RegisteredServers, **settings: Any) -> McpService:
    return mcp_service(configured(mcp_registration=open_for_all(**settings)), servers)


async def listed(service: McpService, user: str) -> list[dict[str, Any]]:
    async with service.user(user) as http:
        answer = await http.get(PATH)
    assert answer.status_code == 200
    found: list[dict[str, Any]] = answer.json()["servers"]
    return found


async def added(service: McpService, user: str = "alice", **changes: Any) -> httpx.Response:
    async with service.user(user) as http:
        return await http.post(PATH, json={**TICKETS, **changes})


async def deleted(service: McpService, name: str, user: str = "alice") -> httpx.Response:
    async with service.user(user) as http:
        return await http.delete(f"{PATH}/{name}")


async def test_add_list_delete_and_delete_again(mcp: McpService) -> None:
    answer = await added(mcp)
    assert answer.status_code == 201
    assert answer.json() == {
        **TICKETS,
        "provider_id": "model-context-protocol",
        "message": "MCP server 'tickets' registered successfully",
    }
    assert await listed(mcp, "alice") == [OPS, LISTED]
    answer = await deleted(mcp, "tickets")
    assert answer.status_code == 200
    assert answer.json() == {
        "deleted": True,
        "name": "tickets",
        "response": "MCP server deleted successfully",
    }
    assert await listed(mcp, "alice") == [OPS]
    answer = await deleted(mcp, "tickets")
    assert answer.status_code == 200
    assert answer.json() == {"deleted": False, "name": "tickets", "response": "MCP server not found"}


async def test_all_fields_are_kept(mcp: McpService) -> None:
    given = {
        "provider_id": "other",
        "authorization_headers": {"Authorization": "oauth", "X-Key": "client"},
        "headers": ["X-Tenant"],
        "timeout": 7,
    }
    assert (await added(mcp, **given)).status_code == 201
    (kept,) = await mcp.servers.owned("alice")
    assert (kept.provider_id, kept.authorization_headers, kept.headers, kept.timeout) == (
        "other",
        given["authorization_headers"],
        ("X-Tenant",),
        7,
    )
    for name in ("one", "two"):
        nothing = {"authorization_headers": None, "headers": None, "timeout": None}
        assert (await added(mcp, name=name, **nothing)).status_code == 201


async def test_a_server_is_its_owners_alone(mcp: McpService) -> None:
    assert (await added(mcp)).status_code == 201
    assert await listed(mcp, "bob") == [OPS]
    answer = await deleted(mcp, "tickets", "bob")
    assert (answer.status_code, answer.json()["deleted"]) == (200, False)
    # The name is taken for him, too, and he does not learn by whom.
    answer = await added(mcp, "bob")
    assert (answer.status_code, answer.json()) == (409, TAKEN)
    assert (await added(mcp)).json() == TAKEN
    # An administrator sees and removes it, without what its address may hold.
    assert await listed(mcp, ROOT) == [OPS, LISTED | {"url": "http://127.0.0.1:8000/mcp"}]
    assert (await deleted(mcp, "tickets", ROOT)).json()["deleted"]
    assert await listed(mcp, "alice") == [OPS]


async def test_servers_of_the_configuration(mcp: McpService, servers: RegisteredServers) -> None:
    for name in ("ops", "cluster"):
        answer = await added(mcp, name=name)
        assert (answer.status_code, answer.json()["detail"]["response"]) == (409, "Mcp Server already exists")
        for user in ("alice", ROOT):
            answer = await deleted(mcp, name, user)
            assert answer.status_code == 403
            assert answer.json()["detail"] == {
                "response": "Cannot delete statically configured MCP server",
                "cause": f"MCP server '{name}' is defined in configuration and cannot be removed via the API.",
            }
    # The one that needs a token is there where callers bring one.
    with_token = configured(mcp_servers=STATIC, authentication={"module": "noop-with-token"})
    assert [row["name"] for row in await listed(mcp_service(with_token, servers), "bob")] == [
        "ops",
        "cluster",
    ]


async def test_a_name_that_the_configuration_takes_later(servers: RegisteredServers) -> None:
    await added(opened(servers))
    later = configured(
        mcp_servers=[{"name": "tickets", "url": "http://t/mcp"}], mcp_registration=open_for_all()
    )
    service = mcp_service(later, servers)
    assert [row["source"] for row in await listed(service, "alice")] == ["config"]
    assert (await deleted(service, "tickets", "bob")).status_code == 403
    assert (await deleted(service, "tickets")).json()["deleted"]
    assert (await deleted(service, "tickets")).status_code == 403


async def test_nobody_adds_a_server_unless_the_operator_allows_it(servers: RegisteredServers) -> None:
    await added(opened(servers))
    service = mcp_service(configured(), servers)
    for body in (TICKETS, {"wrong": True}):
        async with service.user("alice") as http:
            answer = await http.post(PATH, json=body)
        assert answer.status_code == 403
        assert "`mcp_registration.enabled`" in answer.json()["detail"]["cause"]
    # What was added before can still be removed.
    assert await listed(service, "alice") == [LISTED]
    assert (await deleted(service, "tickets")).json()["deleted"]
    assert await listed(service, "alice") == []


async def test_credentials_and_actions_are_needed(mcp: McpService) -> None:
    for user, status in ((None, 401), (NOBODY, 403)):
        async with mcp.user(user) as http:
            for answer in (
                await http.get(PATH),
                await http.post(PATH, json=TICKETS),
                await http.delete(f"{PATH}/tickets"),
                await http.get("/v1/mcp-auth/client-options"),
            ):
                assert answer.status_code == status
    assert await mcp.servers.owned(None) == []


@pytest.mark.parametrize(
    ("changes", "place"),
    [
        ({"name": ""}, "name"),
        ({"name": "x" * 257}, "name"),
        ({"name": "a/b"}, "name"),
        ({"name": "a\\b"}, "name"),
        ({"name": "a\nb"}, "name"),
        ({"name": "a\u0000b"}, "name"),
        ({"name": "a\u202eb"}, "name"),
        ({"name": " a"}, "name"),
        ({"name": ".."}, "name"),
        ({"name": None}, "name"),
        ({"url": "ftp://tools.example.com"}, "url"),
        ({"url": "tools.example.com"}, "url"),
        ({"url": "https://"}, "url"),
        ({"url": "https://tools.example.com/" + "x" * 2048}, "url"),
        ({"provider_id": ""}, "provider_id"),
        ({"timeout": 0}, "timeout"),
        ({"timeout": -1}, "timeout"),
        ({"timeout": True}, "timeout"),
        ({"timeout": 1.5}, "timeout"),
        ({"timeout": 2**40}, "timeout"),
        ({"authorization_headers": {"Authorization": "/etc/secret"}}, "authorization_headers"),
        ({"authorization_headers": {"Authorization": "Bearer abc"}}, "authorization_headers"),
        ({"authorization_headers": {"": "client"}}, "authorization_headers"),
        ({"authorization_headers": {"X Key": "client"}}, "authorization_headers"),
        ({"authorization_headers": {"Host": "client"}}, "authorization_headers"),
        ({"authorization_headers": {"Mcp-Session-Id": "client"}}, "authorization_headers"),
        ({"authorization_headers": {"X-Key": "client", "x-key": "oauth"}}, "body"),
        ({"headers": "X-A"}, "headers"),
        ({"headers": [""]}, "headers"),
        ({"headers": [7]}, "headers"),
        ({"headers": ["X-A: b\r\nX-B"]}, "headers"),
        ({"headers": ["X-A", "x-a"]}, "body"),
        ({"headers": ["X-Fine", "Authorization"]}, "headers"),
        ({"headers": ["cookie"]}, "headers"),
        ({"headers": ["HOST"]}, "headers"),
        ({"headers": ["Proxy-Authorization"]}, "headers"),
        ({"headers": ["x-rh-identity"]}, "headers"),
        ({"headers": ["X-Forwarded-User"]}, "headers"),
        ({"headers": ["MCP-HEADERS"]}, "headers"),
        ({"headers": ["mcp-session-id"]}, "headers"),
        ({"headers": ["Content-Length"]}, "headers"),
        ({"headers": [f"X-{number}" for number in range(51)]}, "headers"),
        ({"require_approval": "never"}, "require_approval"),
    ],
)
async def test_what_a_server_must_not_have(mcp: McpService, changes: dict[str, Any], place: str) -> None:
    answer = await added(mcp, **changes)
    assert answer.status_code == 422
    (first, *_) = answer.json()["detail"]
    assert place in first["loc"]
    assert await mcp.servers.owned(None) == []


@pytest.mark.parametrize(
    ("settings", "url", "cause"),
    [
        ({}, "http://169.254.169.254/latest", "allowed_hosts"),
        ({}, "https://example.com/mcp", "allowed_hosts"),
        ({}, "https://tools.example.com.evil.org/mcp", "allowed_hosts"),
        ({}, "https://tools.example.com@169.254.169.254/", "user name"),
        ({"allow_private": False}, "http://127.0.0.1:8000/mcp", "private address"),
        ({"allow_private": False}, "http://localhost:8000/mcp", "this machine"),
        ({"allowed_hosts": [], "allow_private": False}, "http://127.0.0.1/", "private address"),
        ({"allowed_hosts": [], "allow_private": False}, "http://2130706433/", "private address"),
        ({"allowed_hosts": [], "allow_private": False}, "http://[::ffff:10.0.0.1]/", "private address"),
        ({"allowed_hosts": [], "allow_private": False}, "http://localhost./", "this machine"),
        ({"allowed_hosts": ["169.254.169.254"]}, "http://169.254.169.254/latest", "never connected to"),
    ],
)
async def test_addresses_that_are_refused(
    servers: RegisteredServers, settings: dict[str, Any], url: str, cause: str
) -> None:
    answer = await added(opened(servers, **settings), url=url)
    assert answer.status_code == 422
    detail = answer.json()["detail"]
    assert detail["response"] == "Invalid URL of an MCP server"
    assert cause in detail["cause"]
    assert await servers.owned(None) == []


async def test_a_name_is_resolved_when_its_server_is_added(
    servers: RegisteredServers, monkeypatch: pytest.MonkeyPatch
) -> None:
    known = {"inside.example.com": "10.0.0.7", "outside.example.com": "93.184.216.34"}

    async def resolve(host: str, port: int, **_: Any) -> list[Any]:
        if host not in known:
            raise OSError(host)
        return [(2, 1, 6, "", (known[host], port))]

    monkeypatch.setattr(addresses, "getaddrinfo", resolve)
    service = opened(servers, allowed_hosts=[], allow_private=False)
    answer = await added(service, url="https://inside.example.com/mcp")
    assert answer.status_code == 422
    assert "10.0.0.7" not in answer.text
    assert (await added(service, url="https://outside.example.com/mcp")).status_code == 201
    # A name that nobody knows yet is checked with each connection.
    assert (await added(service, name="later", url="https://later.example.com/mcp")).status_code == 201


@pytest.mark.parametrize(
    ("authentication", "status"),
    [
        ({"module": "noop"}, 422),
        (JWK, 422),
        ({"module": "rh-identity", "rh_identity_config": {}}, 422),
        ({"module": "api-key-token", "api_key_config": {"api_key": "a-key-of-some-length"}}, 422),
        ({"module": "k8s"}, 201),
        ({"module": "noop-with-token"}, 201),
    ],
)
async def test_callers_tokens_are_sent_where_they_are_good_for_others(
    servers: RegisteredServers, authentication: dict[str, Any], status: int
) -> None:
    configuration = configured(mcp_registration=open_for_all(), authentication=authentication)
    service = mcp_service(configuration, servers)
    answer = await added(service, authorization_headers={"Authorization": "kubernetes"})
    assert answer.status_code == status
    if status == 422:
        assert authentication["module"] in answer.json()["detail"]["cause"]
    assert len(await servers.owned("alice")) == (status == 201)


async def test_a_user_has_a_limit(servers: RegisteredServers) -> None:
    service = opened(servers, max_servers_per_user=2)
    for name in ("one", "two"):
        assert (await added(service, name=name)).status_code == 201
    answer = await added(service, name="three")
    assert answer.status_code == 422
    assert "2 MCP servers" in answer.json()["detail"]["cause"]
    assert (await added(service, "bob", name="three")).status_code == 201


async def test_names_with_odd_but_harmless_characters(mcp: McpService) -> None:
    for name, quoted in (("a b?c#d%e", "a%20b%3Fc%23d%25e"), ("Zoë 🎫", "Zo%C3%AB%20%F0%9F%8E%AB")):
        assert (await added(mcp, name=name)).status_code == 201
        answer = await deleted(mcp, quoted)
        assert answer.json() == {
            "deleted": True,
            "name": name,
            "response": "MCP server deleted successfully",
        }


async def test_all_workers_see_the_same(tmp_path: Path) -> None:
    databases = [Database.at(tmp_path / "lightspeed.db") for _ in range(2)]
    for database in databases:
        await database.open()
    try:
        first, second = (opened(RegisteredServers(database)) for database in databases)
        await added(first)
        assert await listed(second, "alice") == [LISTED]
        assert (await added(second)).status_code == 409
        assert (await deleted(second, "tickets")).json()["deleted"]
        assert await listed(first, "alice") == []
    finally:
        for database in databases:
            await database.close()
