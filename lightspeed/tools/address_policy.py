"""Which addresses of MCP servers that users have given may be connected to."""

from collections.abc import Awaitable, Callable, Iterable

import httpx

from lightspeed.configuration.mcp_registration import McpRegistrationConfiguration
from lightspeed.documents.addresses import addresses_of, normal_host, refusal
from lightspeed.errors import LightspeedError

type Resolve = Callable[[str, int], Awaitable[list[str]]]
"""The IP addresses of a host and port. Raises OSError if the host is unknown."""

_HIGHEST_PORT = 65_535
_SETTING = "`mcp_registration.allow_private`"


class AddressRefused(LightspeedError):
    """Nobody connects to this address; the message is one line, for people, and tells no IP address."""


class AddressPolicy:
    """The addresses that an operator allows to users.

    `allowed_hosts` are names or IP addresses of hosts, or `*.example.com` for all names below that one; none at all
    allows every host. Ports are free. Loopback and private addresses need `allow_private`; link-local addresses
    and those of metadata services are refused in any case.
    """

    def __init__(
        self,
        allowed_hosts: Iterable[str] = (),
        *,
        allow_private: bool = False,
        resolve: Resolve = addresses_of,
    ) -> None:
        hosts = list(allowed_hosts)
        self._hosts = frozenset(normal_host(host) for host in hosts if not host.startswith("*."))
        self._domains = tuple(f".{normal_host(host[2:])}" for host in hosts if host.startswith("*."))
        self._allow_private = allow_private
        self._resolve = resolve

    def url(self, address: str) -> httpx.URL:
        """A URL that may be used as far as that is known without the network. Raises AddressRefused."""
        try:
            url = httpx.URL(address)
        except (httpx.InvalidURL, ValueError):
            raise AddressRefused("is not a web address") from None
        self.check(url)
        return url

    def check(self, url: httpx.URL) -> None:
        """As `url`, for one that is read already."""
        if url.scheme not in ("http", "https") or not normal_host(url.host):
            raise AddressRefused("must be an http or https URL with a host")
        if url.userinfo:
            raise AddressRefused("must not hold a user name or a password")
        if "%" in url.host:
            raise AddressRefused("must not have `%` in its host")
        if url.port is not None and not 0 < url.port <= _HIGHEST_PORT:
            raise AddressRefused(f"must have a port of 1 to {_HIGHEST_PORT}")
        host = normal_host(url.host)
        if not self._allowed(host):
            raise AddressRefused("is at a host that is not among `mcp_registration.allowed_hosts`")
        if not self._allow_private and (host == "localhost" or host.endswith(".localhost")):
            raise AddressRefused(f"leads to this machine, which needs {_SETTING}")

    async def addresses(self, url: httpx.URL) -> list[str]:
        """The IP addresses of a URL's host. One that is refused refuses them all.

        Raises AddressRefused, and OSError if the host is unknown.
        """
        self.check(url)
        port = url.port or (443 if url.scheme == "https" else 80)
        found = await self._resolve(url.raw_host.decode("ascii").strip("[]"), port)
        for address in found:
            if refusal(address, allow_private=self._allow_private) is not None:
                # Which address it is would tell outsiders about the network inside.
                if refusal(address, allow_private=True) is None:
                    raise AddressRefused(f"leads to a private address, which needs {_SETTING}")
                raise AddressRefused("leads to an address that is never connected to")
        return found

    def _allowed(self, host: str) -> bool:
        return not (self._hosts or self._domains) or host in self._hosts or host.endswith(self._domains)


def registration_policy(settings: McpRegistrationConfiguration) -> AddressPolicy:
    """For the servers that users add."""
    return AddressPolicy(settings.allowed_hosts, allow_private=settings.allow_private)
