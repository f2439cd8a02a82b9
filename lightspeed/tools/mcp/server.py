"""One MCP server, from the configuration or added through the API."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal
from urllib.parse import urlsplit, urlunsplit

from lightspeed.configuration.mcp import Approval, ApprovalFilter, ModelContextProtocolServer
from lightspeed.configuration.root import Configuration

MODULES_WITH_KUBERNETES_TOKEN = frozenset({"k8s", "noop-with-token"})
"""Authentication modules whose callers bring a token that is good for other servers of the cluster."""


@dataclass(frozen=True, slots=True)
class McpServer:
    """Where a server is, what it is sent, and what it may do.

    `authorization_headers` maps names of headers to the path of a file, or to `kubernetes`, `client` or `oauth`;
    `headers` names those of the request that are passed on. `timeout` is the longest call in seconds, or None for
    the usual one. Addresses of source `api` come from users, and are connected to through a guarded transport only.
    """

    name: str
    url: str = field(repr=False)
    authorization_headers: Mapping[str, str] = field(default_factory=dict)
    headers: Sequence[str] = ()
    require_approval: Approval = "never"
    timeout: int | None = None
    source: Literal["config", "api"] = "config"
    provider_id: str = "model-context-protocol"
    max_result_characters: int = 100_000
    tool_list_seconds: int = 300

    @classmethod
    def from_configuration(cls, section: ModelContextProtocolServer) -> "McpServer":
        return cls(
            name=section.name,
            url=section.url,
            authorization_headers={
                name.strip(): value.strip() for name, value in section.authorization_headers.items()
            },
            headers=tuple(name.strip() for name in section.headers),
            require_approval=section.require_approval,
            timeout=section.timeout,
            provider_id=section.provider_id,
            max_result_characters=section.max_result_characters,
            tool_list_seconds=section.tool_list_seconds,
        )

    @property
    def place(self) -> tuple[str, str]:
        """What is reached or not, whoever asks."""
        return self.name, self.url

    @property
    def shown_url(self) -> str:
        """The address without user, password, query and fragment, which may hold secrets."""
        parts = urlsplit(self.url)
        return urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], parts.path, "", ""))

    @property
    def wants_login(self) -> bool:
        """Whether a caller without credentials is to be told how to get some."""
        return "oauth" in self.authorization_headers.values()

    def needs_approval(self, tool: str) -> bool:
        """With a filter everything asks that it does not exempt by name."""
        if isinstance(self.require_approval, ApprovalFilter):
            return tool not in self.require_approval.never
        return self.require_approval == "always"


def usable_servers(configuration: Configuration) -> tuple[list[McpServer], list[str]]:
    """The configured servers that the authentication module leaves, and a warning for each of the others."""
    servers: list[McpServer] = []
    warnings: list[str] = []
    module = configuration.authentication.module
    for section in configuration.mcp_servers:
        server = McpServer.from_configuration(section)
        if "kubernetes" in server.authorization_headers.values() and (
            module not in MODULES_WITH_KUBERNETES_TOKEN
        ):
            warnings.append(
                f"MCP server '{server.name}' is not used: its `kubernetes` header needs the authentication module "
                f"`k8s` or `noop-with-token`, not `{module}`."
            )
        else:
            servers.append(server)
    return servers, warnings
