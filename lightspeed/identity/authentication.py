"""What an authentication module is."""

from typing import Protocol

from starlette.requests import Request

from lightspeed.identity.principal import Principal

DEFAULT_USER_ID = "00000000-0000-0000-0000-000"
DEFAULT_USERNAME = "lightspeed-user"
GUEST = Principal(DEFAULT_USER_ID, DEFAULT_USERNAME, skip_userid_check=True)
"""Who asks where nobody has to say who it is."""


class Authentication(Protocol):
    """Names the caller of each request. Used between its making and `close()`, in one event loop."""

    @property
    def credentials(self) -> str | None:
        """The header that holds the credentials, in lower case, if the module reads one."""
        ...

    async def __call__(self, request: Request) -> Principal:
        """Raises BadRequest, Unauthorized, Forbidden or Unavailable, and nothing else."""
        ...

    async def close(self) -> None: ...
