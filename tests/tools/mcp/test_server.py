from typing import Any

import pytest

from lightspeed.configuration.mcp import ModelContextProtocolServer
from lightspeed.configuration.root import Configuration
from lightspeed.tools.mcp.server import McpServer, usable_servers


def configuration(module: dict[str, Any], *servers: dict[str, Any]) -> Configuration:
    return Configuration.model_validate(
        {
            "name": "n",
            "service": {},
            "llama_stack": {"url": "http://stack:8321"},
            "user_data_collection": {},
            "authentication": module,
            "mcp_servers": list(servers),
        }
    )


KUBERNETES = {"name": "k", "url": "http://k/mcp", "authorization_headers": {"Authorization": "kubernetes"}}
OPEN = {"name": "open", "url": "http://o/mcp"}
CLIENT = {"name": "client", "url": "http://c/mcp", "authorization_headers": {"Authorization": "client"}}


@pytest.mark.parametrize("module", [{"module": "k8s"}, {"module": "noop-with-token"}])
def test_modules_whose_token_may_be_sent_keep_all_servers(module: dict[str, Any]) -> None:
    servers, warnings = usable_servers(configuration(module, KUBERNETES, OPEN))
    assert [server.name for server in servers] == ["k", "open"]
    assert warnings == []


@pytest.mark.parametrize(
    "module",
    [
        {"module": "noop"},
        {"module": "rh-identity", "rh_identity_config": {}},
        {"module": "jwk-token", "jwk_config": {"url": "https://keys.example/jwks"}},
        {"module": "api-key-token", "api_key_config": {"api_key": "k"}},
    ],
)
def test_other_modules_drop_servers_that_want_the_token(module: dict[str, Any]) -> None:
    servers, warnings = usable_servers(configuration(module, OPEN, KUBERNETES, CLIENT))
    assert [server.name for server in servers] == ["open", "client"]
    assert len(warnings) == 1
    assert warnings[0].startswith("MCP server 'k' is not used")
    assert module["module"] in warnings[0]


def test_a_section_becomes_a_server() -> None:
    section = ModelContextProtocolServer(
        name="ops",
        url="https://u:p@ops.example:8443/mcp?key=SECRET#x",
        provider_id="p",
        authorization_headers={" X-Key ": " client "},
        headers=(" X-Tenant ",),
        timeout=5,
        max_result_characters=10,
        tool_list_seconds=20,
    )
    server = McpServer.from_configuration(section)
    assert server == McpServer(
        name="ops",
        url="https://u:p@ops.example:8443/mcp?key=SECRET#x",
        provider_id="p",
        authorization_headers={"X-Key": "client"},
        headers=("X-Tenant",),
        timeout=5,
        max_result_characters=10,
        tool_list_seconds=20,
    )
    assert server.shown_url == "https://ops.example:8443/mcp"
    assert "SECRET" not in repr(server)


@pytest.mark.parametrize(
    ("approval", "asks"),
    [
        ("never", []),
        ("always", ["read", "write", "other"]),
        ({"always": ["write"], "never": ["read"]}, ["write", "other"]),
        ({"always": ["write"]}, ["read", "write", "other"]),
        ({"never": ["read", "write"]}, ["other"]),
    ],
)
def test_which_tools_ask(approval: Any, asks: list[str]) -> None:
    section = ModelContextProtocolServer(name="s", url="http://s", require_approval=approval)
    server = McpServer.from_configuration(section)
    assert [tool for tool in ("read", "write", "other") if server.needs_approval(tool)] == asks


def test_servers_of_users_never_ask() -> None:
    assert not McpServer("s", "http://s", source="api").needs_approval("write")
