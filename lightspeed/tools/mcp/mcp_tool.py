"""A tool of an MCP server, for one caller."""

from collections.abc import Mapping
from typing import Any

from lightspeed.tools.mcp.connections import Connections
from lightspeed.tools.mcp.failure import McpFailure
from lightspeed.tools.mcp.headers import ResolvedHeaders
from lightspeed.tools.mcp.listings import Listings
from lightspeed.tools.mcp.output import failure, outcome_of
from lightspeed.tools.mcp.server import McpServer
from lightspeed.tools.tool import ListedTool, ToolOutcome


class McpTool:
    """Called with the headers of the turn that it was offered to. Whatever goes wrong becomes a failed outcome."""

    type = "mcp_call"

    def __init__(
        self,
        name: str,
        listed: ListedTool,
        server: McpServer,
        headers: ResolvedHeaders,
        connections: Connections,
        listings: Listings,
    ) -> None:
        """`name` is the one towards the model."""
        self.name = name
        self.shown_name = listed.name
        self._listed = listed
        self._server = server
        self._headers = headers
        self._connections = connections
        self._listings = listings

    @property
    def server_label(self) -> str | None:
        return self._server.name

    @property
    def needs_approval(self) -> bool:
        return self._server.needs_approval(self._listed.name)

    @property
    def definition(self) -> Mapping[str, Any]:
        return {
            "type": "function",
            "function": {
                "name": self.name,
                "description": self._listed.description,
                "parameters": dict(self._listed.input_schema),
            },
        }

    def shown_arguments(self, arguments: Mapping[str, Any]) -> dict[str, Any]:
        return {**arguments, "server_label": self._server.name}

    async def call(self, arguments: Mapping[str, Any]) -> ToolOutcome:
        """Cancelling it cancels the call at the server."""
        try:
            result = await self._connections.call(self._server, self._headers, self._listed.name, arguments)
        except McpFailure as error:
            self._listings.failed(self._server, self._headers, error)
            maybe = " The call may have been carried out." if error.perhaps_done else ""
            return failure(f"MCP server '{self._server.name}' {error.reason}.{maybe}")
        return outcome_of(result, self._server.max_result_characters)
