"""GET /v1/tools under each authentication module, with the real module and its real counterpart."""

import base64
import json
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from typing import Any

import httpx
import pytest
from anyio import to_thread

from lightspeed.identity.modules import authentication
from lightspeed.tools.mcp.server import MODULES_WITH_KUBERNETES_TOKEN, usable_servers
from lightspeed.tools.mcp.toolbox import McpToolbox
from tests.api.mcp_service import configured, mcp_service, registered_servers
from tests.identity.jwks_server import JwksServer
from tests.identity.kubernetes_api import KubernetesApi
from tests.identity.signing import signing_key
from tests.mcp_servers import McpAddress, mcp_server, tool

pytestmark = pytest.mark.anyio

KEY = "the-key-of-the-service"
TOKEN = "token-of-a-user"
PROXY = "token-of-the-proxy"
OF_THE_CLIENT = "Bearer of-the-client"
IDENTITY = {"identity": {"type": "User", "org_id": "o-1", "user": {"user_id": "u-1", "username": "ada"}}}
RH_HEADER = base64.b64encode(json.dumps(IDENTITY).encode()).decode()

type Seen = tuple[McpAddress, McpAddress, McpAddress]


@pytest.fixture(scope="module")
def servers() -> Iterator[Seen]:
    """One that wants nothing, one that takes what the client gives, one that takes the caller's token."""
    with (
        mcp_server(tools=[tool("open")]) as plain,
        mcp_server(tools=[tool("client")]) as client,
        mcp_server(tools=[tool("cluster")]) as cluster,
    ):
        yield plain, client, cluster


@pytest.fixture(scope="module")
def cluster_api() -> Iterator[KubernetesApi]:
    users: dict[str, Any] = {
        TOKEN: {"username": "ada", "uid": "u-1", "groups": []},
        PROXY: {"username": "system:serviceaccount:edge:proxy", "uid": "p-1"},
    }
    with KubernetesApi(users=users, admitted={"ada"}) as api:
        yield api


@pytest.fixture(scope="module")
def keys() -> Iterator[JwksServer]:
    server = JwksServer({"keys": [signing_key("RS256").jwk(kid="k")]})
    yield server
    server.stop()


def section(module: str, api: KubernetesApi, keys: JwksServer) -> dict[str, Any]:
    blocks: dict[str, dict[str, Any]] = {
        "api-key-token": {"api_key_config": {"api_key": KEY}},
        "jwk-token": {"jwk_config": {"url": keys.url}},
        "rh-identity": {"rh_identity_config": {}},
        "k8s": {"k8s_cluster_api": api.url},
        "trusted-proxy": {"k8s_cluster_api": api.url, "trusted_proxy_config": {}},
    }
    return {"module": module} | blocks.get(module, {})


def credentials(module: str) -> dict[str, str]:
    bearers = {
        "api-key-token": KEY,
        "jwk-token": signing_key("RS256").token() if module == "jwk-token" else "",
        "noop-with-token": TOKEN,
        "k8s": TOKEN,
        "trusted-proxy": PROXY,
    }
    headers = {"Authorization": f"Bearer {bearers[module]}"} if module in bearers else {}
    if module == "rh-identity":
        headers["x-rh-identity"] = RH_HEADER
    if module == "trusted-proxy":
        headers["X-Forwarded-User"] = "ada"
    return headers


@asynccontextmanager
async def service(sections: dict[str, Any], servers: Seen) -> AsyncIterator[httpx.AsyncClient]:
    plain, client, cluster = servers
    configuration = await to_thread.run_sync(
        lambda: configured(
            authentication=sections,
            mcp_servers=[
                {"name": "open", "url": plain.url},
                {"name": "client", "url": client.url, "authorization_headers": {"Authorization": "client"}},
                {
                    "name": "cluster",
                    "url": cluster.url,
                    "authorization_headers": {"Authorization": "kubernetes"},
                },
            ],
        )
    )
    module = await to_thread.run_sync(authentication, configuration.authentication)
    toolbox = McpToolbox(
        usable_servers(configuration)[0],
        kubernetes_tokens=configuration.authentication.module in MODULES_WITH_KUBERNETES_TOKEN,
    )
    async with registered_servers() as registered:
        app = mcp_service(configuration, registered, toolbox, authenticate=module).app
        transport = httpx.ASGITransport(app)
        try:
            async with httpx.AsyncClient(transport=transport, base_url="http://service") as http:
                yield http
        finally:
            await toolbox.close()
            await module.close()


@pytest.mark.parametrize(
    ("module", "refused", "cluster_token"),
    [
        ("noop", None, None),
        ("noop-with-token", 401, TOKEN),
        ("api-key-token", 401, None),
        ("jwk-token", 401, None),
        ("rh-identity", 401, None),
        ("k8s", 401, TOKEN),
        ("trusted-proxy", 401, None),
    ],
)
async def test_tools_under_each_module(
    servers: Seen,
    cluster_api: KubernetesApi,
    keys: JwksServer,
    module: str,
    refused: int | None,
    cluster_token: str | None,
) -> None:
    """Only the modules whose callers bring a token of the cluster have the server that wants one."""
    for server in servers:
        server.seen.requests.clear()
    given = credentials(module)
    async with service(section(module, cluster_api, keys), servers) as http:
        unknown = await http.get("/v1/tools")
        assert unknown.status_code == (refused or 200)
        without = await http.get("/v1/tools", headers=given)
        own = json.dumps({"client": {"Authorization": OF_THE_CLIENT}})
        answer = await http.get("/v1/tools", headers=given | {"MCP-HEADERS": own})
    of_the_cluster = ["cluster"] if cluster_token else []
    assert _groups(without) == ["open", *of_the_cluster]
    assert _groups(answer) == ["open", "client", *of_the_cluster]
    plain, client, cluster = (_sent(server) for server in servers)
    assert plain == {None}
    assert client == {OF_THE_CLIENT}
    assert cluster == ({f"Bearer {cluster_token}"} if cluster_token else set())
    # What has proved who asks is for this service alone, unless it is a token of the cluster.
    secrets = set(given.values()) - {"ada"} - ({f"Bearer {TOKEN}"} if cluster_token else set())
    told = json.dumps([server.seen.requests for server in servers]) + answer.text
    assert not [secret for secret in secrets if secret.removeprefix("Bearer ") in told]


def _groups(answer: httpx.Response) -> list[str]:
    assert answer.status_code == 200, answer.text
    return [row["toolgroup_id"] for row in answer.json()["tools"]]


def _sent(server: McpAddress) -> set[str | None]:
    return {headers.get("authorization") for _, _, headers in server.seen.requests}
