"""Authentication that asks for nothing: the module `noop`."""

from starlette.requests import Request

from lightspeed.errors import BadRequest
from lightspeed.identity.authentication import DEFAULT_USER_ID, DEFAULT_USERNAME
from lightspeed.identity.principal import Principal
from lightspeed.identity.user_names import LONGEST, is_plain


class NoAuthentication:
    """Takes the user that the query parameter `user_id` names, else the default one."""

    credentials: str | None = None

    async def __call__(self, request: Request) -> Principal:
        return Principal(requested_user(request), DEFAULT_USERNAME, skip_userid_check=True)

    async def close(self) -> None:
        """Nothing is open."""


def requested_user(request: Request) -> str:
    """The id in the query parameter `user_id`. Raises BadRequest if it is empty or cannot name a user."""
    user_id = request.query_params.get("user_id", DEFAULT_USER_ID)
    if not user_id:
        raise BadRequest("user_id cannot be empty")
    if not is_plain(user_id):
        raise BadRequest(f"user_id must have at most {LONGEST} characters, and no control characters")
    return user_id
