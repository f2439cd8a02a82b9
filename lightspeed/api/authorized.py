"""POST /authorized."""

from pydantic import BaseModel

from lightspeed.api.endpoint import Access, Call, Endpoint
from lightspeed.identity.authentication import DEFAULT_USER_ID, DEFAULT_USERNAME


class AuthorizedResponse(BaseModel):
    """Who the caller is. `skip_userid_check` says that the user id was not proved."""

    user_id: str
    username: str
    skip_userid_check: bool

    model_config = {
        "json_schema_extra": {
            "examples": [
                {"user_id": DEFAULT_USER_ID, "username": DEFAULT_USERNAME, "skip_userid_check": True}
            ]
        }
    }


async def authorized(call: Call) -> AuthorizedResponse:
    principal = call.principal
    return AuthorizedResponse(
        user_id=principal.user_id,
        username=principal.username,
        skip_userid_check=principal.skip_userid_check,
    )


ENDPOINTS = (
    Endpoint(
        "POST",
        "/authorized",
        authorized,
        action=Access.AUTHENTICATED,
        tags=("authorized",),
        summary="Who the service takes the caller for",
        response=AuthorizedResponse,
    ),
)
