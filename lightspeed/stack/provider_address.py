"""Where the server of a provider is, as far as its settings tell."""

from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

import anyio

_CONNECTS_WITHIN = 2.0  # seconds
_URLS = ("url", "uri", "base_url", "endpoint")
_PORTS = {"http": 80, "https": 443, "postgresql": 5432, "postgres": 5432, "redis": 6379, "mongodb": 27017}


def address(settings: Mapping[str, Any]) -> tuple[str, int] | None:
    """Host and port, None if the settings name neither a URL nor a host with a port."""
    host, port = settings.get("host"), settings.get("port")
    if isinstance(host, str) and host and not host.startswith("/") and "://" not in host:
        return (host, int(str(port))) if str(port).isdigit() else None
    for name in (*_URLS, "host"):
        if isinstance(value := settings.get(name), str) and "://" in value:
            return _of_url(value)
    return None


async def is_there(settings: Mapping[str, Any]) -> bool:
    """Whether the server that the settings name takes connections; True if they name none.

    Many a database client connects without yielding to others, so this is done first.
    """
    place = address(settings)
    if place is None:
        return True
    try:
        with anyio.fail_after(_CONNECTS_WITHIN):
            stream = await anyio.connect_tcp(*place)
            await stream.aclose()
    except (OSError, TimeoutError):
        return False
    return True


def _of_url(url: str) -> tuple[str, int] | None:
    try:
        parts = urlsplit(url)
        port = parts.port or _PORTS.get(parts.scheme.partition("+")[0])
    except ValueError:
        return None
    return (parts.hostname, port) if parts.hostname and port else None
