"""The header `Authorization`."""

import pytest

from lightspeed.errors import Unauthorized
from lightspeed.identity.bearer import bearer_token, rejected
from tests.identity.asking import request

MISSING = "No Authorization header found"
NO_TOKEN = "No token found in Authorization header"


@pytest.mark.parametrize(
    ("value", "token"),
    [
        ("Bearer abc", "abc"),
        ("bearer abc", "abc"),
        ("BEARER \t abc ", "abc"),
        ("Bearer a.b-c_d~e+f/g==", "a.b-c_d~e+f/g=="),
        ("Bearer \xe9\xa0", "\xe9\xa0"),
    ],
)
def test_the_token(value: str, token: str) -> None:
    assert bearer_token(request(("authorization", value))) == token


@pytest.mark.parametrize(
    ("values", "cause"),
    [
        ([], MISSING),
        ([""], MISSING),
        (["", ""], MISSING),
        (["Bearer"], NO_TOKEN),
        (["Bearer "], NO_TOKEN),
        (["   "], NO_TOKEN),
        (["abc"], NO_TOKEN),
        (["Basic abc"], NO_TOKEN),
        (["Bearer a b"], NO_TOKEN),
        (["Bearer\xa0a"], NO_TOKEN),
        (["Bearer:a b"], NO_TOKEN),
        (["Bearer a", "Bearer a"], NO_TOKEN),
        (["", "Bearer a"], NO_TOKEN),
    ],
)
def test_no_token(values: list[str], cause: str) -> None:
    with pytest.raises(Unauthorized) as caught:
        bearer_token(request(*(("authorization", value) for value in values)))
    assert (caught.value.status, caught.value.cause) == (401, cause)
    assert caught.value.response == "Missing or invalid credentials provided by client"
    assert caught.value.headers == {"WWW-Authenticate": "Bearer"}


def test_a_token_that_was_rejected() -> None:
    assert rejected("Token has expired").headers == {"WWW-Authenticate": 'Bearer error="invalid_token"'}
