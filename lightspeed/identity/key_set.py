"""The keys of a JSON Web Key Set (RFC 7517), and checking a signature with them (RFC 7515, 7518)."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

from jwt import DecodeError, InvalidSignatureError, PyJWS, PyJWTError
from jwt.algorithms import ECAlgorithm, HMACAlgorithm, OKPAlgorithm, RSAAlgorithm

from lightspeed.identity.bearer import rejected
from lightspeed.identity.signed_token import SignedToken, json_object, not_decoded

_JWS = PyJWS()
_RSA = ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512")
_CURVES = {"P-256": "ES256", "P-384": "ES384", "P-521": "ES512", "secp256k1": "ES256K"}
_SHORTEST_RSA_KEY = 2048  # bits, as RFC 7518 asks
_SHORTEST_SECRETS = {"HS256": 32, "HS384": 48, "HS512": 64}  # bytes, likewise
_PUBLIC = ("kty", "crv", "n", "e", "x", "y", "k")


@dataclass(frozen=True, slots=True)
class Key:
    """One key. `algorithms` are those that its kind and its own `alg` allow; `declared` says that it has an `alg`."""

    identifier: str | None
    algorithms: frozenset[str]
    declared: bool
    material: Any

    def claims(self, token: SignedToken) -> dict[str, Any]:
        """The claims of a token that this key has signed. Raises Unauthorized for any other token."""
        options: Any = {"enforce_minimum_key_length": True}
        try:
            payload = _JWS.decode(token.text, self.material, [token.algorithm], options)
        except InvalidSignatureError as error:
            raise rejected("Invalid token signature") from error
        except DecodeError as error:
            raise not_decoded() from error
        except PyJWTError as error:
            raise rejected("Unknown token error") from error
        try:
            return json_object(payload)
        except ValueError as error:
            raise not_decoded() from error


@dataclass(frozen=True, slots=True)
class KeySet:
    """The keys that can check signatures; others in the set are passed over."""

    keys: tuple[Key, ...]

    @classmethod
    def read(cls, text: bytes) -> Self:
        """Raises ValueError if the text is not JSON, KeySetError if it holds no keys that can be used."""
        try:
            content = json.loads(text)
        except RecursionError as error:
            raise ValueError("nested too deeply") from error
        entries = content.get("keys") if isinstance(content, dict) else None
        if not isinstance(entries, list):
            raise KeySetError("it has no list `keys`")
        keys = tuple(key for entry in entries if (key := _key(entry)) is not None)
        if entries and not keys:
            raise KeySetError("none of its keys can check a signature")
        return cls(keys)

    def key(self, token: SignedToken) -> Key | None:
        """The one key with the token's key id; for a token without one, the first key for its algorithm."""
        if token.key_id is not None:
            named = [key for key in self.keys if key.identifier == token.key_id]
            return named[0] if len(named) == 1 and token.algorithm in named[0].algorithms else None
        fitting = [key for key in self.keys if token.algorithm in key.algorithms]
        return next((key for key in fitting if key.declared), fitting[0] if fitting else None)


class KeySetError(Exception):
    """What a key server sent is JSON, but not a set of keys."""


def _key(entry: Any) -> Key | None:
    """None for a key that is broken, too weak, of an unknown kind or for another use."""
    if not isinstance(entry, Mapping) or entry.get("use", "sig") != "sig":
        return None
    operations = entry.get("key_ops", ["verify"])
    identifier, declared = entry.get("kid"), entry.get("alg")
    if not isinstance(operations, list) or "verify" not in operations:
        return None
    if not isinstance(identifier, str | None) or not isinstance(declared, str | None):
        return None
    try:
        material, algorithms = _material({name: entry[name] for name in _PUBLIC if name in entry})
    except (PyJWTError, ArithmeticError, AttributeError, LookupError, TypeError, ValueError):
        return None
    if declared is not None:
        algorithms &= {declared}
    return Key(identifier, algorithms, declared is not None, material)


def _material(jwk: dict[str, Any]) -> tuple[Any, frozenset[str]]:
    """The key in the form that the library takes, and the algorithms that its kind allows."""
    match jwk.get("kty"):
        case "RSA":
            rsa: Any = RSAAlgorithm.from_jwk(jwk)
            return rsa, frozenset(_RSA if rsa.key_size >= _SHORTEST_RSA_KEY else ())
        case "EC":
            return ECAlgorithm.from_jwk(jwk), frozenset({_CURVES[jwk["crv"]]})
        case "OKP":
            return OKPAlgorithm.from_jwk(jwk), frozenset({"EdDSA"})
        case "oct":
            secret = HMACAlgorithm.from_jwk(jwk)
            return secret, frozenset(
                name for name, least in _SHORTEST_SECRETS.items() if len(secret) >= least
            )
        case _:
            raise ValueError("unknown kind of key")
