"""Authentication that asks for nothing: the module `noop`."""

from starlette.requests import Request

from lightspeed.errors import BadRequest
from lightspeed.identity.principal import Principal

DEFAULT_USER_ID = "00000000-0000-0000-0000-000"
DEFAULT_USERNAME = "lightspeed-user"


async def authenticate(request: Request) -> Principal:
    """The user that the query parameter `user_id` names, else the default one. Raises BadRequest."""
    user_id = request.query_params.get("user_id", DEFAULT_USER_ID)
    if not user_id:
        raise BadRequest("user_id cannot be empty", response="Invalid user")
    return Principal(user_id, DEFAULT_USERNAME, skip_userid_check=True)
