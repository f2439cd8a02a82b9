"""Authentication that asks for a token and does not check it: the module `noop-with-token`."""

from starlette.requests import Request

from lightspeed.identity.authentication import DEFAULT_USERNAME
from lightspeed.identity.bearer import BEARER_HEADER, bearer_token, rejected
from lightspeed.identity.noop import requested_user
from lightspeed.identity.principal import Principal


class UncheckedTokenAuthentication:
    """Takes the user as `noop` does, and keeps the bearer token for servers that are called in the user's name."""

    credentials: str | None = BEARER_HEADER

    async def __call__(self, request: Request) -> Principal:
        token = bearer_token(request)
        if not token.isascii() or not token.isprintable():
            raise rejected("No token found in Authorization header")  # None that could be sent on.
        return Principal(requested_user(request), DEFAULT_USERNAME, skip_userid_check=True, token=token)

    async def close(self) -> None:
        """Nothing is open."""
