"""GET /v1/tools."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel

from lightspeed.api.endpoint import Call, Endpoint
from lightspeed.api.tool_descriptions import ToolParameter, clean_description, parameters_of
from lightspeed.assistant.knowledge_tool import KnowledgeTool
from lightspeed.configuration.root import Configuration
from lightspeed.errors import BadRequest, StorageError
from lightspeed.identity.actions import Action
from lightspeed.identity.principal import Principal
from lightspeed.retrieval.okp.request import PortalQuery
from lightspeed.tools.caller import Caller
from lightspeed.tools.mcp.header_rules import caller_of
from lightspeed.tools.mcp.server import MODULES_WITH_KUBERNETES_TOKEN, McpServer
from lightspeed.tools.skills.skills import PROVIDER_ID, TOOLGROUP_ID
from lightspeed.tools.tool import Tool, ToolListing

if TYPE_CHECKING:
    from lightspeed.tools.mcp.toolbox import McpToolbox

BUILT_IN = "builtin"


class ToolDescription(BaseModel):
    """`server_source` is the address of an MCP server, or `builtin`."""

    identifier: str
    description: str
    parameters: list[ToolParameter]
    provider_id: str
    toolgroup_id: str
    server_source: str
    type: str = "tool"


class ToolsResponse(BaseModel):
    tools: list[ToolDescription]


async def tools(call: Call) -> ToolsResponse:
    """What the model may call when this caller asks. Servers that cannot be reached now are left out."""
    services, acting = call.services.services, caller(call)
    search = services.knowledge.search
    stores = await search.tool_stores(None, acting.user_id)
    own: list[Tool] = [KnowledgeTool(search, stores, PortalQuery())] if stores else []
    found = [_built_in(tool, "lightspeed", f"{BUILT_IN}::{tool.name}") for tool in own]
    toolbox: McpToolbox | None = services.tools
    if toolbox is not None:
        found += await _of_servers(toolbox, acting)
    if services.skills is not None:
        names = {tool.identifier for tool in found}
        tools_of_skills: Sequence[Tool] = services.skills.tools(())
        found += [
            _built_in(tool, PROVIDER_ID, TOOLGROUP_ID) for tool in tools_of_skills if tool.name not in names
        ]
    return ToolsResponse(tools=found)


def caller(call: Call[Any, Any]) -> Caller:
    """Whom tools act for. Raises BadRequest for a wrong `MCP-HEADERS`."""
    token = server_token(call.principal, call.services.configuration)
    return caller_of(call.request.headers, call.principal.user_id, token)


def server_token(principal: Principal, configuration: Configuration) -> str:
    """The caller's token, if the authentication module takes such that are good for other servers, else nothing."""
    module = configuration.authentication.module
    return principal.token if module in MODULES_WITH_KUBERNETES_TOKEN else ""


async def _of_servers(toolbox: "McpToolbox", caller: Caller) -> list[ToolDescription]:
    offer = await toolbox.offered(caller)
    servers = {server.name: server for server in await toolbox.servers(caller)}
    return [
        described
        for listing in offer.listings
        if listing.server_label in servers
        for described in _listed(listing, servers[listing.server_label])
    ]


def _listed(listing: ToolListing, server: McpServer) -> list[ToolDescription]:
    return [
        ToolDescription(
            identifier=tool.name,
            description=clean_description(tool.description),
            parameters=parameters_of(tool.input_schema),
            provider_id=server.provider_id,
            toolgroup_id=server.name,
            server_source=server.shown_url,
        )
        for tool in listing.tools
    ]


def _built_in(tool: Tool, provider_id: str, group: str) -> ToolDescription:
    function = tool.definition["function"]
    return ToolDescription(
        identifier=tool.name,
        description=function["description"],
        parameters=parameters_of(function["parameters"]),
        provider_id=provider_id,
        toolgroup_id=group,
        server_source=BUILT_IN,
    )


ENDPOINTS = (
    Endpoint(
        "GET",
        "/v1/tools",
        tools,
        action=Action.GET_TOOLS,
        tags=("catalogue",),
        summary="The tools that the model may use for the caller's questions",
        response=ToolsResponse,
        errors=(BadRequest, StorageError),
    ),
)
