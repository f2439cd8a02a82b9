"""The module `api-key-token`."""

import pytest

from lightspeed.configuration.authentication import APIKeyTokenConfiguration
from lightspeed.identity.api_key import ApiKeyAuthentication
from lightspeed.identity.principal import Principal
from tests.identity.asking import bearer, refusal, request

pytestmark = pytest.mark.anyio

NAMED = [
    {"name": "ci", "key": "key-of-ci", "roles": ["runner", "reader"]},
    {"name": "ada", "key": "key-of-ada"},
]


def module(**settings: object) -> ApiKeyAuthentication:
    return ApiKeyAuthentication(APIKeyTokenConfiguration.model_validate(settings))


@pytest.mark.parametrize("settings", [{"api_key": "shared"}, {"api_key": "shared", "keys": NAMED}])
async def test_the_shared_key(settings: dict[str, object]) -> None:
    asked = request(("authorization", "bearer shared"), query="user_id=ada")
    assert await module(**settings)(asked) == Principal(
        "00000000-0000-0000-0000-000", "lightspeed-user", skip_userid_check=True, token="shared"
    )


@pytest.mark.parametrize("settings", [{"keys": NAMED}, {"api_key": "shared", "keys": NAMED}])
async def test_keys_with_names(settings: dict[str, object]) -> None:
    authenticate = module(**settings)
    assert await authenticate(bearer("key-of-ci")) == Principal(
        "ci", "ci", token="key-of-ci", roles=frozenset({"*", "runner", "reader"})
    )
    assert await authenticate(bearer("key-of-ada")) == Principal("ada", "ada", token="key-of-ada")


@pytest.mark.parametrize(
    "token",
    [b"Shared", b"share", b"shared1", b"ci", b"caf\xe9", b"\xff\xfe", b"********", b"key-of-ci,shared"],
)
async def test_a_wrong_key(token: bytes) -> None:
    error = await refusal(module(api_key="shared", keys=NAMED), bearer(token))
    assert (error.status, error.cause) == (401, "Invalid API Key")
    assert error.response == "Missing or invalid credentials provided by client"
    assert error.headers == {"WWW-Authenticate": 'Bearer error="invalid_token"'}


async def test_no_key() -> None:
    error = await refusal(module(api_key="shared"), request())
    assert (error.status, error.cause) == (401, "No Authorization header found")


async def test_the_shared_key_is_not_accepted_where_there_is_none() -> None:
    error = await refusal(module(keys=NAMED), bearer("None"))
    assert error.cause == "Invalid API Key"
