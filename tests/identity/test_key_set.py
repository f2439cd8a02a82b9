"""Key sets, and signatures that are checked with them."""

import hmac
import json
from dataclasses import replace
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from lightspeed.configuration.authentication import ASYMMETRIC_ALGORITHMS
from lightspeed.errors import Unauthorized
from lightspeed.identity.key_set import KeySet, KeySetError
from lightspeed.identity.signed_token import SignedToken
from tests.identity.signing import ed448_key, encoded, key_set, rsa_key, signing_key

SECRETS = ("HS256", "HS384", "HS512")
ALL = frozenset({*ASYMMETRIC_ALGORITHMS, *SECRETS})
UNKNOWN_KEY = "Token signed by unknown key"


def keys(*entries: Any) -> KeySet:
    return KeySet.read(json.dumps(key_set(*entries)).encode())


def claims(known: KeySet, token: str) -> dict[str, Any] | None:
    """None if there is no key for the token."""
    read = SignedToken.read(token, ALL)
    key = known.key(read)
    return None if key is None else key.claims(read)


@pytest.mark.parametrize("declared", [True, False])
@pytest.mark.parametrize("algorithm", [*ASYMMETRIC_ALGORITHMS, *SECRETS])
def test_a_signature_of_each_kind(algorithm: str, declared: bool) -> None:
    key = signing_key(algorithm)
    jwk = key.jwk(kid="k") if declared else key.jwk(kid="k", alg=None)
    known = keys(jwk)
    for kid in ("k", None):
        found = claims(known, key.token(kid=kid, team="x"))
        assert found is not None
        assert (found["user_id"], found["team"]) == ("u-1", "x")
    with pytest.raises(Unauthorized, match="Invalid token signature"):
        claims(known, signing_key(algorithm, 1).token())


def test_ed448() -> None:
    found = claims(keys(ed448_key().jwk(kid="k")), ed448_key().token())
    assert found is not None


@pytest.mark.parametrize("part", [0, 1, 2])
@pytest.mark.parametrize("algorithm", ["RS256", "PS384", "ES256", "ES256K", "EdDSA", "HS256"])
def test_a_token_that_was_changed(algorithm: str, part: int) -> None:
    key = signing_key(algorithm)
    good, other = (key.token(team=team).split(".") for team in ("x", "y"))
    if part == 0:
        other[0] = encoded({"alg": algorithm, "kid": "k", "typ": "other"})
    mixed = ".".join(other[i] if i == part else good[i] for i in range(3))
    with pytest.raises(Unauthorized, match="Invalid token signature"):
        claims(keys(key.jwk(kid="k")), mixed)


@pytest.mark.parametrize("signature", ["", "AA", "A" * 86, "A" * 342])
@pytest.mark.parametrize("algorithm", ["RS256", "ES256", "ES512", "EdDSA", "HS256"])
def test_a_signature_of_any_length(algorithm: str, signature: str) -> None:
    key = signing_key(algorithm)
    token = key.token().rpartition(".")[0] + "." + signature
    with pytest.raises(Unauthorized, match="Invalid token signature"):
        claims(keys(key.jwk(kid="k")), token)


def test_the_key_that_the_token_names() -> None:
    first, second = signing_key("RS256"), signing_key("RS256", 1)
    known = keys(first.jwk(kid="a"), second.jwk(kid="b"), signing_key("ES256").jwk(kid="c"))
    assert claims(known, first.token(kid="a"))
    assert claims(known, second.token(kid="b"))
    assert claims(known, signing_key("ES256").token(kid="c"))
    with pytest.raises(Unauthorized, match="Invalid token signature"):
        claims(known, first.token(kid="b"))


def test_without_a_key_id_the_first_key_for_the_algorithm() -> None:
    first, second, third = (signing_key("RS256", number) for number in range(3))
    known = keys(
        signing_key("ES256").jwk(kid="e"),
        first.jwk(kid="a", alg=None),
        second.jwk(kid="b"),
        third.jwk(),
    )
    assert claims(known, second.token(kid=None))
    for other in (first, third):
        with pytest.raises(Unauthorized, match="Invalid token signature"):
            claims(known, other.token(kid=None))
    assert claims(known, signing_key("ES256").token(kid=None))


@pytest.mark.parametrize(
    "entries",
    [
        [],
        [signing_key("RS256").jwk(kid="other")],
        [signing_key("RS256").jwk()],
        [signing_key("RS256").jwk(kid="k"), signing_key("RS256").jwk(kid="k")],
        [signing_key("RS256").jwk(kid="k"), signing_key("ES256").jwk(kid="k")],
        [signing_key("RS256").jwk(kid="k", alg="RS512")],
        [signing_key("RS256").jwk(kid="k", alg="PS256")],
        [signing_key("RS256").jwk(kid="k", alg="RSA-OAEP")],
        [signing_key("ES256").jwk(kid="k")],
        [signing_key("ES256").jwk(kid="k", alg="RS256")],
    ],
)
def test_no_key_for_the_token(entries: list[dict[str, Any]]) -> None:
    assert claims(keys(*entries), signing_key("RS256").token()) is None


def test_no_key_for_the_algorithm() -> None:
    known = keys(signing_key("RS256").jwk(), signing_key("ES384").jwk(alg=None))
    assert claims(known, signing_key("ES256").token(kid=None)) is None
    assert claims(known, signing_key("HS256").token(kid=None)) is None


def test_a_public_key_is_no_secret() -> None:
    """The known attack: a token signed by HMAC, with the public key as the secret."""
    key = signing_key("RS256")
    content = f"{encoded({'alg': 'HS256', 'kid': 'k'})}.{encoded({'user_id': 'u'})}"
    public = key.private.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    token = f"{content}.{encoded(hmac.digest(public, content.encode(), 'sha256'))}"
    assert claims(keys(key.jwk(kid="k")), token) is None
    assert claims(keys(key.jwk(kid="k", alg=None)), token) is None
    assert claims(keys(key.jwk(kid="k", alg="HS256")), token) is None


def test_a_secret_checks_no_other_signature() -> None:
    secret = signing_key("HS256")
    known = keys(secret.jwk(kid="k", alg=None))
    assert claims(known, signing_key("RS256").token()) is None
    assert claims(keys(secret.jwk(kid="k", alg="RS256")), signing_key("RS256").token()) is None


def test_weak_keys() -> None:
    weak = replace(signing_key("RS256"), private=rsa_key(bits=1024))
    with pytest.warns(jwt.InsecureKeyLengthWarning):
        token = weak.token()
    assert claims(keys(weak.jwk(kid="k")), token) is None
    short = replace(signing_key("HS512"), private=b"s" * 48)
    with pytest.warns(jwt.InsecureKeyLengthWarning):
        token = short.token()
    assert claims(keys(short.jwk(kid="k", alg=None)), token) is None
    assert claims(keys(short.jwk(kid="k", alg=None)), replace(short, algorithm="HS384").token())


GOOD = signing_key("ES256").jwk(kid="k")
BROKEN: list[Any] = [
    *(None, 5, "text", [], {}),
    *({"kty": kind} for kind in (None, "X", 5, [], {}, "RSA", "EC", "OKP", "oct")),
    GOOD | {"use": "enc"},
    GOOD | {"key_ops": ["encrypt"]},
    GOOD | {"key_ops": "verify"},
    GOOD | {"kid": 5},
    GOOD | {"alg": ["ES256"]},
    GOOD | {"crv": "P-999"},
    GOOD | {"crv": None},
    GOOD | {"crv": ["P-256"]},
    GOOD | {"x": "!!!"},
    GOOD | {"x": GOOD["y"]},
    GOOD | {"y": None},
    GOOD | {"y": 5},
    GOOD | {"kty": "OKP"},
    GOOD | {"kty": "RSA"},
    {"kty": "RSA", "n": "", "e": "", "kid": "k"},
    {"kty": "RSA", "n": "AQ", "e": "AQAB", "kid": "k"},
    {"kty": "RSA", "n": 5, "e": "AQAB", "kid": "k"},
    {"kty": "OKP", "crv": "Ed25519", "x": "AQ", "kid": "k"},
    {"kty": "OKP", "crv": "X25519", "x": "A" * 43, "kid": "k"},
    {"kty": "oct", "k": "", "kid": "k"},
    {"kty": "oct", "k": 5, "kid": "k"},
]


@pytest.mark.parametrize("entry", BROKEN, ids=map(str, range(len(BROKEN))))
def test_a_key_that_cannot_be_used(entry: Any) -> None:
    """Beside a good key it is passed over; alone it makes the set unusable."""
    good = signing_key("RS256")
    assert claims(keys(entry, good.jwk(kid="good")), good.token(kid="good"))
    with pytest.raises(KeySetError):
        keys(entry)


def test_members_that_belong_to_a_private_key_are_not_read() -> None:
    key = signing_key("ES256")
    private = jwt.algorithms.ECAlgorithm.to_jwk(key.private, as_dict=True)
    assert claims(keys(private | {"kid": "k", "key_ops": ["sign", "verify"]}), key.token())


@pytest.mark.parametrize("text", [b"", b"{", b"<html>", b"\xff", b"[" * 100_000, b"9" * 5000])
def test_what_is_not_json(text: bytes) -> None:
    with pytest.raises(ValueError, match=r".*"):
        KeySet.read(text)


@pytest.mark.parametrize("text", [b"null", b"[]", b"5", b'"keys"', b"{}", b'{"keys": null}', b'{"keys": {}}'])
def test_what_is_no_key_set(text: bytes) -> None:
    with pytest.raises(KeySetError):
        KeySet.read(text)


@pytest.mark.parametrize("payload", [b"", b"{", b"null", b"[]", b'"u"', b"\xff", b"[" * 20_000, b"9" * 5000])
def test_a_payload_that_is_no_object(payload: bytes) -> None:
    with pytest.raises(Unauthorized, match="Token could not be decoded"):
        claims(keys(GOOD), signing_key("ES256").signed(payload))
