"""Credentials in the headers of a request, as RFC 6750 (bearer tokens) and RFC 9110 (challenges) have them."""

from starlette.requests import Request

from lightspeed.errors import Unauthorized

BEARER_HEADER = "authorization"

_CHALLENGE = {"WWW-Authenticate": "Bearer"}
_REJECTION = {"WWW-Authenticate": 'Bearer error="invalid_token"'}


def bearer_token(request: Request) -> str:
    """The token of the header `Authorization: Bearer <token>`, which may hold any Latin-1 character.

    Raises Unauthorized if the header is missing or empty, has another form, or comes twice.
    """
    headers = request.headers.getlist(BEARER_HEADER)
    if not any(headers):
        raise Unauthorized("No Authorization header found", headers=_CHALLENGE)
    # Only ASCII blanks part words.
    words = headers[0].encode("latin-1").split()
    if len(headers) > 1 or len(words) != 2 or words[0].lower() != b"bearer":
        raise Unauthorized("No token found in Authorization header", headers=_CHALLENGE)
    return words[1].decode("latin-1")


def unproved(cause: str) -> Unauthorized:
    """The error of a token that nothing is known about, for a reason that is not the token's."""
    return Unauthorized(cause, headers=_CHALLENGE)


def rejected(cause: str) -> Unauthorized:
    """The error of a token that was read and is not good. `cause` never holds the token."""
    return Unauthorized(cause, headers=_REJECTION)
