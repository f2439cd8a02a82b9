"""GET /v1/mcp-auth/client-options."""

from pydantic import BaseModel, Field

from lightspeed.api.endpoint import Call, Endpoint
from lightspeed.errors import StorageError
from lightspeed.identity.actions import Action
from lightspeed.tools.mcp.server import usable_servers
from lightspeed.tools.user_servers import UserServers


class MCPServerAuthInfo(BaseModel):
    name: str = Field(examples=["tickets"])
    client_auth_headers: list[str] = Field(examples=[["Authorization"]])


class MCPClientAuthOptionsResponse(BaseModel):
    servers: list[MCPServerAuthInfo]


async def client_options(call: Call) -> MCPClientAuthOptionsResponse:
    """The servers that take a header from the caller, and the names of such headers."""
    services, configuration = call.services.services, call.services.configuration
    own = await UserServers(services.mcp_servers, configuration).of(call.principal.user_id)
    found = []
    for server in (*usable_servers(configuration)[0], *own):
        names = [name for name, source in server.authorization_headers.items() if source == "client"]
        if names:
            found.append(MCPServerAuthInfo(name=server.name, client_auth_headers=names))
    return MCPClientAuthOptionsResponse(servers=found)


ENDPOINTS = (
    Endpoint(
        "GET",
        "/v1/mcp-auth/client-options",
        client_options,
        action=Action.GET_TOOLS,
        tags=("mcp-auth",),
        summary="The MCP servers that take a header of the caller's own",
        description="Send the values in the header `MCP-HEADERS` of a question.",
        response=MCPClientAuthOptionsResponse,
        errors=(StorageError,),
    ),
)
