"""How errors look on the wire."""

import logging
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Self

from pydantic import ValidationError
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from lightspeed.api.json_codec import MalformedJSON, encode
from lightspeed.errors import (
    InternalError,
    LightspeedError,
    ModelRefused,
    NotReady,
    RequestError,
    Unavailable,
)

log = logging.getLogger(__name__)

MAX_SCHEMA_ERRORS = 100


class SchemaError(LightspeedError):
    """A request does not have the declared form: 422 with a list of `{type, loc, msg, input, ctx?}`."""

    def __init__(self, errors: Sequence[Mapping[str, Any]]) -> None:
        self.errors = list(errors)[:MAX_SCHEMA_ERRORS]
        super().__init__(f"{len(self.errors)} errors in the request")

    @classmethod
    def missing(cls, *location: str) -> Self:
        return cls([{"type": "missing", "loc": location, "msg": "Field required", "input": None}])

    @classmethod
    def malformed(cls, error: MalformedJSON) -> Self:
        entry = {
            "type": "json_invalid",
            "loc": ("body", error.position),
            "msg": "JSON decode error",
            "input": {},
            "ctx": {"error": error.message},
        }
        return cls([entry])

    @classmethod
    def from_pydantic(cls, source: str, error: ValidationError, *, include_input: bool = True) -> Self:
        """`source` is `body`, `query` or `path` and becomes the first part of each `loc`."""
        entries: list[Any] = error.errors(include_url=False, include_input=include_input)
        for entry in entries[:MAX_SCHEMA_ERRORS]:
            entry["loc"] = (source, *entry["loc"])
        return cls(entries)


def json_response(detail: Any, status: int, headers: Mapping[str, str] | None = None) -> Response:
    """The answer `{"detail": detail}`."""
    content = encode({"detail": detail})
    return Response(content, status, dict(headers or {}), media_type="application/json")


def error_response(error: RequestError) -> Response:
    """The answer `{"detail": {"response", "cause"}}` with the error's status and headers."""
    detail = {"response": error.response, "cause": error.cause}
    return json_response(detail, error.status, error.headers)


def internal_error_response() -> Response:
    """The answer to any exception that nothing else handles; it tells no details."""
    return error_response(InternalError())


def exception_handlers() -> dict[Any, Callable[[Request, Any], Any]]:
    """What the Starlette application needs as its `exception_handlers`."""
    return {RequestError: _request_error, SchemaError: _schema_error, HTTPException: _http_exception}


async def _request_error(request: Request, error: RequestError) -> Response:
    if error.status >= 500 and not isinstance(error, NotReady):
        # Of a provider that is away, or refuses, the cause says enough.
        provider = isinstance(error, ModelRefused | Unavailable)
        trace = None if provider and not log.isEnabledFor(logging.DEBUG) else error.__cause__
        log.error("%s %s: %s", request.method, request.url.path, error, exc_info=trace)
    return error_response(error)


async def _schema_error(request: Request, error: SchemaError) -> Response:
    return json_response(error.errors, 422)


async def _http_exception(request: Request, error: HTTPException) -> Response:
    if error.status_code in {204, 304}:
        return Response(status_code=error.status_code, headers=error.headers)
    return json_response(error.detail, error.status_code, error.headers)
