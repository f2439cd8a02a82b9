"""Real keys, and tokens that are signed with them."""

import base64
import json
import time
from dataclasses import dataclass
from functools import cache
from typing import Any

import jwt
from cryptography.hazmat.primitives.asymmetric import ec, ed448, ed25519, rsa
from jwt.algorithms import ECAlgorithm, HMACAlgorithm, OKPAlgorithm, RSAAlgorithm

CURVES: dict[str, ec.EllipticCurve] = {
    "ES256": ec.SECP256R1(),
    "ES384": ec.SECP384R1(),
    "ES512": ec.SECP521R1(),
    "ES256K": ec.SECP256K1(),
}


@dataclass(frozen=True)
class SigningKey:
    private: Any
    algorithm: str

    def jwk(self, **members: Any) -> dict[str, Any]:
        """The public half; a member that is None is left out."""
        if self.algorithm.startswith("HS"):
            public = HMACAlgorithm.to_jwk(self.private, as_dict=True)
        elif self.algorithm.startswith("ES"):
            public = ECAlgorithm.to_jwk(self.private.public_key(), as_dict=True)
        elif self.algorithm == "EdDSA":
            public = OKPAlgorithm.to_jwk(self.private.public_key(), as_dict=True)
        else:
            public = RSAAlgorithm.to_jwk(self.private.public_key(), as_dict=True)
        public.pop("key_ops", None)
        changed = public | {"alg": self.algorithm} | members
        return {name: value for name, value in changed.items() if value is not None}

    def token(self, kid: str | None = "k", headers: dict[str, Any] | None = None, **claims: Any) -> str:
        """A token of a user who is known for a while; a claim that is ... is left out."""
        given = {"user_id": "u-1", "username": "Ada", "exp": int(time.time()) + 600} | claims
        named = ({} if kid is None else {"kid": kid}) | (headers or {})
        return jwt.encode(
            {name: value for name, value in given.items() if value is not ...},
            self.private,
            self.algorithm,
            headers=named,
        )

    def signed(self, payload: bytes, kid: str = "k") -> str:
        """A token of any bytes."""
        return jwt.PyJWS().encode(payload, self.private, self.algorithm, headers={"kid": kid})


@cache
def rsa_key(number: int = 0, bits: int = 2048) -> rsa.RSAPrivateKey:
    del number
    return rsa.generate_private_key(65537, bits)


@cache
def signing_key(algorithm: str, number: int = 0) -> SigningKey:
    """The same key each time; `number` tells several of one kind apart."""
    if algorithm.startswith("HS"):
        return SigningKey(bytes([number + 1]) * 64, algorithm)
    if algorithm in CURVES:
        return SigningKey(ec.generate_private_key(CURVES[algorithm]), algorithm)
    if algorithm == "EdDSA":
        return SigningKey(ed25519.Ed25519PrivateKey.generate(), algorithm)
    return SigningKey(rsa_key(number), algorithm)


@cache
def ed448_key() -> SigningKey:
    return SigningKey(ed448.Ed448PrivateKey.generate(), "EdDSA")


def key_set(*keys: Any) -> dict[str, Any]:
    return {"keys": list(keys)}


def encoded(value: Any) -> str:
    """A part of a token."""
    content = value if isinstance(value, bytes) else json.dumps(value).encode()
    return base64.urlsafe_b64encode(content).rstrip(b"=").decode()
