"""The module `noop-with-token`."""

import pytest

from lightspeed.identity.noop_with_token import UncheckedTokenAuthentication
from lightspeed.identity.principal import Principal
from tests.identity.asking import refusal, request

pytestmark = pytest.mark.anyio

TOKEN = ("authorization", "Bearer abc")


@pytest.mark.parametrize(("query", "user_id"), [("", "00000000-0000-0000-0000-000"), ("user_id=ada", "ada")])
async def test_the_user_and_the_token(query: str, user_id: str) -> None:
    principal = await UncheckedTokenAuthentication()(request(TOKEN, query=query))
    assert principal == Principal(user_id, "lightspeed-user", skip_userid_check=True, token="abc")


async def test_the_header_is_checked_before_the_user() -> None:
    error = await refusal(UncheckedTokenAuthentication(), request(query="user_id="))
    assert (error.status, error.cause) == (401, "No Authorization header found")
    error = await refusal(UncheckedTokenAuthentication(), request(TOKEN, query="user_id="))
    assert (error.status, error.cause) == (400, "user_id cannot be empty")


@pytest.mark.parametrize("token", [b"caf\xe9", b"a\x01b", b"\x7f"])
async def test_a_token_that_cannot_be_sent_on(token: bytes) -> None:
    error = await refusal(UncheckedTokenAuthentication(), request(("authorization", b"Bearer " + token)))
    assert (error.status, error.cause) == (401, "No token found in Authorization header")


async def test_the_token_is_in_no_dump() -> None:
    principal = await UncheckedTokenAuthentication()(request(TOKEN))
    assert "abc" not in repr(principal)
