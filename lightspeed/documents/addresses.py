"""Which network addresses a page may be read from."""

import ipaddress

Address = ipaddress.IPv4Address | ipaddress.IPv6Address

# Where clouds hand out credentials to whoever asks from inside.
_METADATA = frozenset(
    map(
        ipaddress.ip_address,
        ("169.254.169.254", "100.100.100.200", "168.63.129.16", "192.0.0.192", "fd00:ec2::254"),
    )
)
_TRANSLATED = (ipaddress.IPv6Network("64:ff9b::/96"), ipaddress.IPv6Network("64:ff9b:1::/48"))


def refusal(text: str, *, allow_private: bool) -> str | None:
    """Why nothing is read from an IP address, or None if it may be.

    Addresses of this machine and of private networks need `allow_private`. Link-local addresses, those of
    cloud metadata services and those of no single machine are refused in any case.
    """
    address = ipaddress.ip_address(text.partition("%")[0])
    for candidate in _embedded(address) or [address]:
        if candidate in _METADATA or candidate.is_link_local:
            return f"{text} is a link-local or metadata address"
        if candidate.is_multicast or candidate.is_unspecified:
            return f"{text} is not the address of a machine"
        if not allow_private and (candidate.is_private or candidate.is_reserved or not candidate.is_global):
            return f"{text} is a private address (--allow-private)"
    return None


def _embedded(address: Address) -> list[Address]:
    """The IPv4 addresses that an IPv6 address leads to."""
    if not isinstance(address, ipaddress.IPv6Address):
        return []
    found: list[Address | None] = [address.ipv4_mapped, address.sixtofour, *(address.teredo or ())]
    if any(address in network for network in _TRANSLATED):
        found.append(ipaddress.IPv4Address(int(address) & 0xFFFFFFFF))
    return [inner for inner in found if inner is not None]
