"""Which network addresses may be connected to on behalf of users."""

import ipaddress
import socket

import httpx
from anyio import getaddrinfo

Address = ipaddress.IPv4Address | ipaddress.IPv6Address

# Where clouds hand out credentials to whoever asks from inside.
_METADATA = frozenset(
    map(
        ipaddress.ip_address,
        ("169.254.169.254", "100.100.100.200", "168.63.129.16", "192.0.0.192", "fd00:ec2::254"),
    )
)
_TRANSLATED = (ipaddress.IPv6Network("64:ff9b::/96"), ipaddress.IPv6Network("64:ff9b:1::/48"))


def normal_host(host: str) -> str:
    """A host name to compare: without brackets, a dot at its end and capitals, in ASCII."""
    host = host.strip().strip("[]").rstrip(".").lower()
    try:
        return httpx.URL(scheme="http", host=host).raw_host.decode("ascii").strip("[]")
    except httpx.InvalidURL:
        return host


async def addresses_of(host: str, port: int) -> list[str]:
    """The IP addresses of a host, each once, in the order in which they are to be tried.

    Every spelling of an address that the system understands comes out in its usual form. Raises OSError if the host
    is unknown.
    """
    try:
        found = await getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except UnicodeError:
        raise OSError("not the name of a host") from None
    return list(dict.fromkeys(str(place[0]) for *_, place in found))


def refusal(text: str, *, allow_private: bool, permission: str = "--allow-private") -> str | None:
    """Why nobody connects to an IP address, or None if it may be.

    Addresses of this machine and of private networks need `allow_private`, which people know as `permission`.
    Link-local addresses, those of cloud metadata services and those of no single machine are refused in any case.
    """
    address = ipaddress.ip_address(text.partition("%")[0])
    for candidate in _embedded(address) or [address]:
        if candidate in _METADATA or candidate.is_link_local:
            return f"{text} is a link-local or metadata address"
        if candidate.is_multicast or candidate.is_unspecified:
            return f"{text} is not the address of a machine"
        if not allow_private and (candidate.is_private or candidate.is_reserved or not candidate.is_global):
            return f"{text} is a private address ({permission})"
    return None


def _embedded(address: Address) -> list[Address]:
    """The IPv4 addresses that an IPv6 address leads to."""
    if not isinstance(address, ipaddress.IPv6Address):
        return []
    found: list[Address | None] = [address.ipv4_mapped, address.sixtofour, *(address.teredo or ())]
    if any(address in network for network in _TRANSLATED):
        found.append(ipaddress.IPv4Address(int(address) & 0xFFFFFFFF))
    return [inner for inner in found if inner is not None]
