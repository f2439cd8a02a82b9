"""GET /v1/tools and /v1/mcp-auth/client-options, with real servers of the Model Context Protocol."""

import json
import socket
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from mcp import types

from lightspeed.configuration.root import Configuration
from lightspeed.configuration.skills import SkillsConfiguration
from lightspeed.storage.mcp_servers import RegisteredServers
from lightspeed.tools.address_policy import registration_policy
from lightspeed.tools.guarded_transport import guarded_transports
from lightspeed.tools.mcp.server import MODULES_WITH_KUBERNETES_TOKEN, usable_servers
from lightspeed.tools.mcp.toolbox import McpToolbox
from lightspeed.tools.skills.skills import Skills
from lightspeed.tools.user_servers import UserServers
from tests.api.mcp_service import JWK, McpService, configured, mcp_service, open_for_all, registered_servers
from tests.mcp_servers import CHALLENGE, McpAddress, mcp_server, tool

pytestmark = pytest.mark.anyio

PATH, OPTIONS = "/v1/tools", "/v1/mcp-auth/client-options"
DISK = types.Tool(
    name="disk_free",
    description="DISPLAY_NAME=Disk\nUSECASE=Tells how full disks are\nINSTRUCTIONS=Only when asked",
    inputSchema={
        "type": "object",
        "properties": {
            "host": {"type": "string", "description": "Name of the host."},
            "unit": {"enum": ["GB", "%"], "default": "%"},
        },
        "required": ["host"],
    },
)
TICKETS = types.Tool(name="find", inputSchema={"type": "object"})
TOKEN = "s3cret-t0ken"


def bearing(token: str) -> Callable[[Mapping[str, str]], bool]:
    return lambda headers: headers.get("authorization") == f"Bearer {token}"


@pytest.fixture(scope="module")
def ops() -> Iterator[McpAddress]:
    with mcp_server(tools=[DISK]) as server:
        yield server


@pytest.fixture(scope="module")
def tickets() -> Iterator[McpAddress]:
    with mcp_server(tools=[TICKETS], allowed=bearing(TOKEN)) as server:
        yield server


@pytest.fixture
async def servers() -> AsyncIterator[RegisteredServers]:
    async with registered_servers() as servers:
        yield servers


@asynccontextmanager
async def with_tools(
    configuration: Configuration, servers: RegisteredServers, skills: Any = None
) -> AsyncIterator[McpService]:
    users = UserServers(servers, configuration)
    toolbox = McpToolbox(
        usable_servers(configuration)[0],
        api_servers=lambda caller: users.of(caller.user_id),
        guarded_transport=guarded_transports(registration_policy(configuration.mcp_registration)),
        kubernetes_tokens=configuration.authentication.module in MODULES_WITH_KUBERNETES_TOKEN,
    )
    try:
        yield mcp_service(configuration, servers, toolbox, skills)
    finally:
        await toolbox.close()


async def listed(mcp: McpService, user: str = "alice", **headers: Any) -> list[dict[str, Any]]:
    given = {"MCP-HEADERS": json.dumps(headers)} if headers else {}
    async with mcp.user(user) as http:
        answer = await http.get(PATH, headers=given)
    assert answer.status_code == 200, answer.text
    found: list[dict[str, Any]] = answer.json()["tools"]
    return found


def names(tools: Sequence[dict[str, Any]]) -> list[tuple[str, str]]:
    return [(row["toolgroup_id"], row["identifier"]) for row in tools]


async def test_the_tools_of_a_server(ops: McpAddress, servers: RegisteredServers) -> None:
    url = ops.url.replace("http://", "http://u5er:pa55@") + "?key=k3y"
    configuration = configured(mcp_servers=[{"name": "ops", "url": url, "provider_id": "own"}])
    async with with_tools(configuration, servers) as mcp:
        found = await listed(mcp)
    assert found == [
        {
            "identifier": "disk_free",
            "description": "Tells how full disks are",
            "parameters": [
                {
                    "name": "host",
                    "description": "Name of the host.",
                    "parameter_type": "string",
                    "required": True,
                    "default": None,
                },
                {
                    "name": "unit",
                    "description": "",
                    "parameter_type": "string",
                    "required": False,
                    "default": "%",
                },
            ],
            "provider_id": "own",
            "toolgroup_id": "ops",
            "server_source": ops.url,
            "type": "tool",
        }
    ]


async def test_servers_that_are_away_or_lack_a_header_are_left_out(
    ops: McpAddress, tickets: McpAddress, servers: RegisteredServers
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as closed:
        port = closed.getsockname()[1]
    sections = [
        {"name": "away", "url": f"http://127.0.0.1:{port}/mcp"},
        {"name": "tickets", "url": tickets.url, "authorization_headers": {"Authorization": "client"}},
        {"name": "ops", "url": ops.url},
    ]
    async with with_tools(configured(mcp_servers=sections), servers) as mcp:
        assert names(await listed(mcp)) == [("ops", "disk_free")]
        with_token = await listed(mcp, tickets={"Authorization": f"Bearer {TOKEN}"})
        assert names(with_token) == [("tickets", "find"), ("ops", "disk_free")]
        assert with_token[0]["description"] == ""
        assert TOKEN not in json.dumps(with_token)
    # The same tokens never reach another server.
    assert not any(TOKEN in json.dumps(request) for request in ops.seen.requests)


@pytest.mark.parametrize("source", ["client", "oauth"])
async def test_credentials_that_a_server_refuses(
    tickets: McpAddress, servers: RegisteredServers, source: str
) -> None:
    section = {"name": "tickets", "url": tickets.url, "authorization_headers": {"Authorization": source}}
    async with with_tools(configured(mcp_servers=[section]), servers) as mcp, mcp.user("alice") as http:
        wrong = json.dumps({"tickets": {"Authorization": "Bearer invalid-t0ken"}})
        answer = await http.get(PATH, headers={"MCP-HEADERS": wrong})
        assert answer.status_code == 401
        assert answer.headers["www-authenticate"] == CHALLENGE
        assert answer.json()["detail"] == {
            "response": "Missing or invalid credentials provided by client",
            "cause": f"MCP server at {tickets.url} requires OAuth",
        }
        assert "invalid-t0ken" not in answer.text
        # Without any, only a login through OAuth is asked for.
        assert (await http.get(PATH)).status_code == (401 if source == "oauth" else 200)


@pytest.mark.parametrize("value", ["{", "[]", '{"tickets": "Bearer x"}', '{"tickets": {"Authorization": 7}}'])
async def test_headers_that_cannot_be_read(servers: RegisteredServers, value: str) -> None:
    async with with_tools(configured(), servers) as mcp, mcp.user("alice") as http:
        answer = await http.get(PATH, headers={"MCP-HEADERS": value})
    assert answer.status_code == 400
    assert "MCP-HEADERS" in answer.json()["detail"]["cause"]


@pytest.mark.parametrize(
    ("authentication", "sent"),
    [({"module": "noop-with-token"}, True), ({"module": "noop"}, False), (JWK, False)],
)
async def test_the_callers_own_token(
    servers: RegisteredServers, authentication: dict[str, Any], sent: bool
) -> None:
    """The token of every user of these tests."""
    with mcp_server(tools=[TICKETS], allowed=bearing("t0ken")) as cluster:
        section = {
            "name": "cluster",
            "url": cluster.url,
            "authorization_headers": {"Authorization": "kubernetes"},
        }
        configuration = configured(mcp_servers=[section], authentication=authentication)
        async with with_tools(configuration, servers) as mcp:
            assert names(await listed(mcp)) == ([("cluster", "find")] if sent else [])
        assert bool(cluster.seen.requests) is sent


async def test_servers_of_users_are_for_themselves(
    ops: McpAddress, tickets: McpAddress, servers: RegisteredServers
) -> None:
    configuration = configured(mcp_servers=[{"name": "ops", "url": ops.url}], mcp_registration=open_for_all())
    async with with_tools(configuration, servers) as mcp:
        body = {
            "name": "mine",
            "url": tickets.url,
            "authorization_headers": {"Authorization": "client"},
            "headers": ["X-Tenant"],
        }
        async with mcp.user("alice") as http:
            assert (await http.post("/v1/mcp-servers", json=body)).status_code == 201
        header = {"Authorization": f"Bearer {TOKEN}"}
        mine = await listed(mcp, mine=header)
        assert names(mine) == [("ops", "disk_free"), ("mine", "find")]
        assert mine[1]["server_source"] == tickets.url
        assert names(await listed(mcp, "bob", mine=header)) == [("ops", "disk_free")]
        async with mcp.user("alice") as http:
            assert (await http.delete("/v1/mcp-servers/mine")).json()["deleted"]
        assert names(await listed(mcp, mine=header)) == [("ops", "disk_free")]


async def test_an_address_that_is_no_longer_allowed_is_not_connected_to(
    servers: RegisteredServers,
) -> None:
    with mcp_server(tools=[TICKETS]) as inside:
        async with with_tools(configured(mcp_registration=open_for_all()), servers) as mcp:
            async with mcp.user("alice") as http:
                body = {"name": "mine", "url": inside.url}
                assert (await http.post("/v1/mcp-servers", json=body)).status_code == 201
            assert names(await listed(mcp)) == [("mine", "find")]
        before = len(inside.seen.requests)
        for settings in (
            open_for_all(allowed_hosts=["*.example.com"]),
            open_for_all(allow_private=False),
            open_for_all(enabled=False),
        ):
            async with with_tools(configured(mcp_registration=settings), servers) as mcp:
                assert await listed(mcp) == []
        assert len(inside.seen.requests) == before


@pytest.fixture
def skills(tmp_path: Path) -> Skills:
    folder = tmp_path / "disk-triage"
    folder.mkdir()
    (folder / "SKILL.md").write_text(
        "---\nname: disk-triage\ndescription: Finds what fills a disk.\n---\nLook.\n"
    )
    return Skills.load(SkillsConfiguration(paths=(tmp_path,)))


async def test_skills_are_listed_unless_a_server_has_the_name(
    servers: RegisteredServers, skills: Skills
) -> None:
    with mcp_server(tools=[tool("list_skills")]) as same:
        configuration = configured(mcp_servers=[{"name": "other", "url": same.url}])
        async with with_tools(configuration, servers, skills) as mcp:
            found = await listed(mcp)
    assert names(found)[0] == ("other", "list_skills")
    own = found[1:]
    assert own
    assert "list_skills" not in {row["identifier"] for row in own}
    for row in own:
        assert (row["provider_id"], row["toolgroup_id"]) == ("agent-skills", "builtin::agent-skills")
        assert (row["server_source"], row["type"]) == ("builtin", "tool")
    (activate,) = (row for row in own if row["identifier"] == "activate_skill")
    assert [(each["name"], each["parameter_type"]) for each in activate["parameters"]] == [("name", "string")]


async def test_which_headers_clients_may_send(servers: RegisteredServers) -> None:
    sections = [
        {
            "name": "a",
            "url": "http://a/mcp",
            "authorization_headers": {"Authorization": "client", "X-Key": "oauth", "X-Other": "client"},
        },
        {"name": "b", "url": "http://b/mcp", "authorization_headers": {"Authorization": "oauth"}},
        {"name": "c", "url": "http://c/mcp", "headers": ["X-Tenant"]},
        {
            "name": "d",
            "url": "http://d/mcp",
            "authorization_headers": {"Authorization": "kubernetes", "X-Key": "client"},
        },
    ]
    first = {"name": "a", "client_auth_headers": ["Authorization", "X-Other"]}
    mine = {"name": "mine", "client_auth_headers": ["X-Key"]}
    configuration = configured(mcp_servers=sections, mcp_registration=open_for_all())
    mcp = mcp_service(configuration, servers)
    async with mcp.user("alice") as alice, mcp.user("bob") as bob:
        assert (await alice.get(OPTIONS)).json() == {"servers": [first]}
        body = {
            "name": "mine",
            "url": "https://tools.example.com/mcp",
            "authorization_headers": {"X-Key": "client"},
        }
        assert (await alice.post("/v1/mcp-servers", json=body)).status_code == 201
        assert (await alice.get(OPTIONS)).json() == {"servers": [first, mine]}
        assert (await bob.get(OPTIONS)).json() == {"servers": [first]}
    nothing = mcp_service(configured(), servers)
    async with nothing.user("alice") as alice:
        assert (await alice.get(OPTIONS)).json() == {"servers": []}
