"""What is kept of an MCP server that a user has added through the API."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime


@dataclass(frozen=True, slots=True)
class RegisteredServer:
    """An MCP server of one user.

    `authorization_headers` maps names of headers to `kubernetes`, `client` or `oauth`; `headers` are the names of
    those that are passed on from the request. `timeout` is the longest call in seconds. It holds no secret.
    """

    name: str
    user_id: str
    url: str
    provider_id: str
    created_at: datetime
    authorization_headers: Mapping[str, str]
    headers: Sequence[str] = ()
    timeout: int | None = None
