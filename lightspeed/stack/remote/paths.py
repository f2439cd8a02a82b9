"""Ids in the paths of requests to the server."""

from urllib.parse import quote

from lightspeed.errors import NotFound


def segment(identifier: str, resource: str) -> str:
    """An id as one part of a path. Raises NotFound for one that would lead elsewhere: `..` is the folder above."""
    if identifier in (".", ".."):
        raise NotFound(resource, identifier)
    return quote(identifier, safe="")
