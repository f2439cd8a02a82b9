"""Times, issuer, audience and user of a token."""

from typing import Any

import pytest

from lightspeed.configuration.authentication import JwkConfiguration
from lightspeed.errors import Unauthorized
from lightspeed.identity.token_claims import check_validity, user_claim

NOW = 1_000_000
FAILED = "Token validation failed"
EXPIRED = "Token has expired"
CHALLENGE = {"WWW-Authenticate": 'Bearer error="invalid_token"'}


def validity(claims: dict[str, Any], **settings: Any) -> str:
    """The cause of the refusal, or nothing."""
    configuration = JwkConfiguration.model_validate({"url": "https://keys"} | settings)
    try:
        check_validity(claims, configuration, NOW + 0.5)
    except Unauthorized as error:
        return error.cause
    return ""


@pytest.mark.parametrize(
    ("claims", "cause"),
    [
        ({"exp": NOW + 1}, ""),
        ({"exp": NOW + 1.5}, ""),
        ({"exp": 10**400}, FAILED),
        ({"exp": NOW - 4}, ""),
        ({"exp": NOW - 5}, EXPIRED),
        ({"exp": 0}, EXPIRED),
        ({"exp": -1}, EXPIRED),
        ({}, "Token missing claim: exp"),
        *(({"exp": value}, FAILED) for value in (None, "1000600", True, [], {}, float("inf"), float("nan"))),
        ({"exp": NOW + 9, "nbf": NOW, "iat": NOW - 9}, ""),
        ({"exp": NOW + 9, "nbf": NOW + 5}, ""),
        ({"exp": NOW + 9, "nbf": NOW + 6}, FAILED),
        ({"exp": NOW + 9, "iat": NOW + 5}, ""),
        ({"exp": NOW + 9, "iat": NOW + 6}, FAILED),
        *(({"exp": NOW + 9, "nbf": value}, FAILED) for value in (None, "0", False, [], float("-inf"))),
        *(({"exp": NOW + 9, "iat": value}, FAILED) for value in (None, "0", False, [], float("nan"))),
    ],
    ids=lambda value: str(value)[:60],
)
def test_times(claims: dict[str, Any], cause: str) -> None:
    assert validity(claims) == cause


def test_leeway() -> None:
    late = {"exp": NOW - 59, "nbf": NOW + 60, "iat": NOW + 60}
    assert validity(late, leeway_seconds=60) == ""
    assert validity(late, leeway_seconds=0) == EXPIRED
    assert validity({"exp": NOW + 1, "nbf": NOW + 1}, leeway_seconds=0) == FAILED


def test_a_token_for_ever() -> None:
    assert validity({}, require_expiry=False) == ""
    assert validity({"exp": NOW - 9}, require_expiry=False) == EXPIRED


@pytest.mark.parametrize(
    ("issuer", "fits"),
    [
        ("https://i", True),
        ("https://i/", False),
        ("", False),
        (None, False),
        (["https://i"], False),
        (5, False),
    ],
)
def test_the_issuer(issuer: Any, fits: bool) -> None:
    assert (validity({"exp": NOW + 9, "iss": issuer}, issuer="https://i") == "") is fits
    assert validity({"exp": NOW + 9, "iss": issuer}) == ""


def test_no_issuer() -> None:
    assert validity({"exp": NOW + 9}, issuer="https://i") == FAILED


@pytest.mark.parametrize(
    ("audience", "fits"),
    [
        ("a", True),
        (["a"], True),
        (["x", "b"], True),
        ("ab", False),
        ("", False),
        ([], False),
        (["x", 5, None, ["a"]], False),
        (None, False),
        (5, False),
        ({"a": 1}, False),
    ],
)
def test_the_audience(audience: Any, fits: bool) -> None:
    claims = {"exp": NOW + 9, "aud": audience}
    assert (validity(claims, audience=["a", "b"]) == "") is fits
    assert validity(claims) == ""


def test_one_audience_as_text() -> None:
    assert validity({"exp": NOW + 9, "aud": ["x", "abc"]}, audience="abc") == ""
    assert validity({"exp": NOW + 9, "aud": "a"}, audience="abc") == FAILED
    assert validity({"exp": NOW + 9}, audience="abc") == FAILED


def test_the_claims_of_the_user() -> None:
    assert user_claim({"sub": "ada"}, "sub") == "ada"
    assert user_claim({"sub": ""}, "sub", may_be_empty=True) == ""


@pytest.mark.parametrize(
    ("claims", "cause"),
    [
        ({}, "Token missing claim: sub"),
        ({"sub": None}, "Token missing claim: sub"),
        ({"sub": ""}, "Token missing claim: sub"),
        ({"sub": " "}, "Token missing claim: sub"),
        *(
            ({"sub": value}, "Token claim is not usable: sub")
            for value in (5, True, ["ada"], {"a": "b"}, "a" * 257, "a\x00", "a\nb", "\udcff")
        ),
    ],
)
def test_claims_that_name_no_user(claims: dict[str, Any], cause: str) -> None:
    with pytest.raises(Unauthorized) as caught:
        user_claim(claims, "sub")
    assert (caught.value.cause, caught.value.headers) == (cause, CHALLENGE)
