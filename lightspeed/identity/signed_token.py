"""A JSON Web Token before its signature is checked: the compact form of RFC 7515."""

import base64
import json
import re
from dataclasses import dataclass
from typing import Any, Self

from lightspeed.errors import Unauthorized
from lightspeed.identity.bearer import rejected

_BASE64URL = re.compile(r"[A-Za-z0-9_-]*")


@dataclass(frozen=True, slots=True)
class SignedToken:
    """What a token says about its signature. None of it is proved."""

    text: str
    algorithm: str
    key_id: str | None

    @classmethod
    def read(cls, text: str, algorithms: frozenset[str]) -> Self:
        """Raises Unauthorized for what is no such token, or signed in another way than `algorithms` name."""
        parts = text.split(".")
        if len(parts) not in {3, 5}:
            raise not_decoded()
        try:
            header = json_object(_decoded(parts[0]))
        except ValueError as error:
            raise not_decoded() from error
        algorithm, key_id = header.get("alg"), header.get("kid")
        # Five parts: it is encrypted. `crit`: it must not be accepted by those who do not know what it names.
        if (
            len(parts) == 5
            or "crit" in header
            or not isinstance(algorithm, str)
            or algorithm not in algorithms
        ):
            raise rejected("Unknown token error")
        if key_id is not None and not isinstance(key_id, str):
            raise rejected("Token signed by unknown key")
        return cls(text, algorithm, key_id)


def json_object(text: bytes) -> dict[str, Any]:
    """Raises ValueError if the text is not a JSON object."""
    try:
        value = json.loads(text)
    except RecursionError as error:
        raise ValueError("nested too deeply") from error
    if not isinstance(value, dict):
        raise ValueError("not an object")
    return value


def not_decoded() -> Unauthorized:
    """The error of what is no token."""
    return rejected("Token could not be decoded")


def _decoded(part: str) -> bytes:
    if not _BASE64URL.fullmatch(part):
        raise ValueError("not base64url")
    return base64.urlsafe_b64decode(part + "=" * (-len(part) % 4))
