"""The MCP servers that users have added, as the tools see them."""

from typing import TYPE_CHECKING

from lightspeed.configuration.root import Configuration
from lightspeed.storage.registered_server import RegisteredServer
from lightspeed.tools.mcp.server import MODULES_WITH_KUBERNETES_TOKEN, McpServer

if TYPE_CHECKING:
    from lightspeed.storage.mcp_servers import RegisteredServers


class UserServers:
    """Servers of users, as far as the configuration still allows them.

    Those are left out whose names the configuration has taken for itself, and those that want a token which callers
    do not have. Whether their addresses are allowed is checked when they are connected to.
    """

    def __init__(self, registered: "RegisteredServers", configuration: Configuration) -> None:
        self._registered = registered
        self._enabled = configuration.mcp_registration.enabled
        self._kubernetes_tokens = configuration.authentication.module in MODULES_WITH_KUBERNETES_TOKEN
        self._taken = frozenset(server.name for server in configuration.mcp_servers)

    async def of(self, user_id: str) -> list[McpServer]:
        """The servers that a user may use now, asked anew each time. Raises StorageError."""
        if not self._enabled:
            return []
        return [mcp_server(row) for row in await self._registered.owned(user_id) if self._usable(row)]

    def _usable(self, row: RegisteredServer) -> bool:
        return row.name not in self._taken and (
            self._kubernetes_tokens or "kubernetes" not in row.authorization_headers.values()
        )


def mcp_server(row: RegisteredServer) -> McpServer:
    """Calls of such servers need no approval: their user has chosen them."""
    return McpServer(
        name=row.name,
        url=row.url,
        authorization_headers=row.authorization_headers,
        headers=row.headers,
        timeout=row.timeout,
        source="api",
        provider_id=row.provider_id,
    )
