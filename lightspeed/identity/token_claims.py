"""What the claims of a token must say (RFC 7519): that it is valid now, from whom, for whom, and about whom."""

from typing import Any

from lightspeed.configuration.authentication import JwkConfiguration
from lightspeed.errors import Unauthorized
from lightspeed.identity.bearer import rejected
from lightspeed.identity.user_names import is_plain

_FARTHEST = 1e15
"""Seconds; a time beyond is a mistake."""


def check_validity(claims: dict[str, Any], settings: JwkConfiguration, now: float) -> None:
    """Raises Unauthorized. `now` is in seconds since 1970."""
    leeway = settings.leeway_seconds
    expiry, start, issued = (_time(claims, name) for name in ("exp", "nbf", "iat"))
    if expiry is None and settings.require_expiry:
        raise _missing("exp")
    if expiry is not None and expiry <= now - leeway:
        raise rejected("Token has expired")
    if max(start or 0, issued or 0) > now + leeway:
        raise _failed()
    if settings.issuer is not None and claims.get("iss") != settings.issuer:
        raise _failed()
    audience = claims.get("aud")
    named = audience if isinstance(audience, list) else [audience]
    if settings.audiences and not any(isinstance(one, str) and one in settings.audiences for one in named):
        raise _failed()


def user_claim(claims: dict[str, Any], name: str, *, may_be_empty: bool = False) -> str:
    """The id or the name of the user. Raises Unauthorized if no user can have it."""
    value = claims.get(name)
    if value is None:
        raise _missing(name)
    if not isinstance(value, str) or not is_plain(value):
        raise rejected(f"Token claim is not usable: {name}")
    if not value.strip() and not may_be_empty:
        raise _missing(name)
    return value


def _time(claims: dict[str, Any], name: str) -> float | None:
    value = claims.get(name)
    if value is None and name not in claims:
        return None
    # Not a number is below no bound, and Python's integers have none of their own.
    if isinstance(value, bool) or not isinstance(value, int | float) or not abs(value) < _FARTHEST:
        raise _failed()
    return value


def _missing(claim: str) -> Unauthorized:
    return rejected(f"Token missing claim: {claim}")


def _failed() -> Unauthorized:
    return rejected("Token validation failed")
