"""What a token says about its signature."""

from typing import Any

import pytest

from lightspeed.errors import Unauthorized
from lightspeed.identity.signed_token import SignedToken
from tests.identity.signing import encoded

ALGORITHMS = frozenset({"RS256", "ES256"})
NOT_DECODED = "Token could not be decoded"
UNKNOWN = "Unknown token error"


def token(header: Any, parts: int = 3) -> str:
    return ".".join([encoded(header), *["AA"] * (parts - 1)])


def test_what_it_says() -> None:
    text = token({"alg": "RS256", "kid": "k", "typ": "JWT"})
    assert SignedToken.read(text, ALGORITHMS) == SignedToken(text, "RS256", "k")
    assert SignedToken.read(token({"alg": "ES256"}), ALGORITHMS).key_id is None
    assert SignedToken.read(token({"alg": "ES256", "kid": ""}), ALGORITHMS).key_id == ""


@pytest.mark.parametrize(
    ("text", "cause"),
    [
        *(
            (text, NOT_DECODED)
            for text in ("x", "..", "a.b", "a.b.c.d", ".".join("abcdef"), "\xe9.\xe9.\xe9")
        ),
        *((token(header), NOT_DECODED) for header in (b"", b"{", b"\xff", b"[" * 9000, b"9" * 5000)),
        *((token(header), NOT_DECODED) for header in (None, [], "RS256", 5, ["alg"])),
        ("!" + token({"alg": "RS256"}), NOT_DECODED),
        ("====." + token({"alg": "RS256"}).partition(".")[2], NOT_DECODED),
        (token({"alg": "none"}), UNKNOWN),
        (token({"alg": "None"}), UNKNOWN),
        (token({}), UNKNOWN),
        *((token({"alg": value}), UNKNOWN) for value in (None, "", 5, [], ["RS256"], {"RS256": 1}, "rs256")),
        (token({"alg": "HS256"}), UNKNOWN),
        (token({"alg": "RS512"}), UNKNOWN),
        (token({"alg": "RS256", "crit": ["exp"]}), UNKNOWN),
        (token({"alg": "RS256", "crit": ["b64"], "b64": False}), UNKNOWN),
        (token({"alg": "RS256", "crit": []}), UNKNOWN),
        (token({"alg": "RSA-OAEP", "enc": "A256GCM"}, parts=5), UNKNOWN),
        (token({"alg": "RS256"}, parts=5), UNKNOWN),
        *((token({"alg": "RS256", "kid": kid}), "Token signed by unknown key") for kid in (5, [], {}, True)),
    ],
    ids=lambda value: str(value)[:60],
)
def test_what_is_refused(text: str, cause: str) -> None:
    with pytest.raises(Unauthorized) as caught:
        SignedToken.read(text, ALGORITHMS)
    assert caught.value.cause == cause
    assert caught.value.headers == {"WWW-Authenticate": 'Bearer error="invalid_token"'}
