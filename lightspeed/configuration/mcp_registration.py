"""The section `mcp_registration`: MCP servers that users add through the API."""

import ipaddress
import re
from collections.abc import Iterator

from pydantic import Field

from lightspeed.configuration.fields import PositiveInt
from lightspeed.configuration.section import KeyPath, Section

_HOST = re.compile(r"[^\s/\\:@?#*%\[\]]+")


class McpRegistrationConfiguration(Section):
    """Whether users may add MCP servers of their own, and where those may be."""

    enabled: bool = Field(False, description="Whether users may add and use MCP servers of their own.")
    allowed_hosts: tuple[str, ...] = Field(
        (),
        description="Hosts of those servers, such as `mcp.example.com`, or `*.example.com` for all names below it;"
        " empty allows every public host.",
    )
    allow_private: bool = Field(
        False, description="Whether `allowed_hosts` may be in private networks or on this machine."
    )
    max_servers_per_user: PositiveInt = Field(20, description="Most servers of one user.")

    def problems(self) -> Iterator[tuple[KeyPath, str]]:
        for position, host in enumerate(self.allowed_hosts):
            if not _is_host(host):
                path = ("allowed_hosts", position)
                yield path, "must be the name or the IP address of a host, or `*.` before a name"
        if self.allow_private and not self.allowed_hosts:
            yield (
                ("allowed_hosts",),
                "is required beside `allow_private`, or users could reach everything inside",
            )


def _is_host(text: str) -> bool:
    try:
        ipaddress.ip_address(text.removeprefix("[").removesuffix("]"))
    except ValueError:
        name = text.removeprefix("*.")
        return bool(_HOST.fullmatch(name)) and bool(name.strip("."))
    return "%" not in text
