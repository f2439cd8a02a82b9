"""The module `noop`."""

import pytest

from lightspeed.identity.noop import NoAuthentication
from lightspeed.identity.principal import Principal
from tests.identity.asking import refusal, request

pytestmark = pytest.mark.anyio


@pytest.mark.parametrize(
    ("query", "user_id"),
    [
        ("", "00000000-0000-0000-0000-000"),
        ("other=1", "00000000-0000-0000-0000-000"),
        ("user_id=ada", "ada"),
        ("user_id=ada&user_id=bea", "bea"),
        ("user_id=%20%C3%A9%2F..", " é/.."),
        (f"user_id={'a' * 256}", "a" * 256),
    ],
)
async def test_the_user(query: str, user_id: str) -> None:
    principal = await NoAuthentication()(request(("authorization", "Bearer t"), query=query))
    assert principal == Principal(user_id, "lightspeed-user", skip_userid_check=True)


@pytest.mark.parametrize(
    ("query", "cause"),
    [
        ("user_id=", "user_id cannot be empty"),
        ("user_id=ada&user_id=", "user_id cannot be empty"),
        (f"user_id={'a' * 257}", "user_id must have at most 256 characters, and no control characters"),
        ("user_id=a%00b", "user_id must have at most 256 characters, and no control characters"),
        ("user_id=a%0Ab", "user_id must have at most 256 characters, and no control characters"),
    ],
)
async def test_no_user(query: str, cause: str) -> None:
    error = await refusal(NoAuthentication(), request(query=query))
    assert (error.status, error.response, error.cause) == (400, "Bad request", cause)


def test_it_reads_no_credentials() -> None:
    assert NoAuthentication().credentials is None
