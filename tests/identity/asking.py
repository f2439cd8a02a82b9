"""Requests as an authentication module sees them, and what it says to them."""

from starlette.requests import Request

from lightspeed.errors import RequestError
from lightspeed.identity.authentication import Authentication


def request(*headers: tuple[str, str | bytes], query: str = "", path: str = "/v1/query") -> Request:
    raw = [
        (name.encode(), value if isinstance(value, bytes) else value.encode("latin-1"))
        for name, value in headers
    ]
    scope = {
        "type": "http",
        "method": "POST",
        "path": path,
        "query_string": query.encode(),
        "headers": raw,
    }
    return Request(scope)


def bearer(token: str | bytes) -> Request:
    return request(("authorization", b"Bearer " + (token.encode() if isinstance(token, str) else token)))


async def refusal(authenticate: Authentication, asked: Request) -> RequestError:
    """The error that the module raises. Fails if it lets the caller in, or raises something else."""
    try:
        principal = await authenticate(asked)
    except RequestError as error:
        return error
    raise AssertionError(f"it let in {principal}")
