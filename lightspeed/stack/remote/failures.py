"""What the server says of a request that it does not serve, as errors of this service."""

import logging
from typing import Any

import httpx

from lightspeed.errors import (
    BadRequest,
    InternalError,
    NotFound,
    ProviderUnavailable,
    RequestError,
    TooLarge,
    TooManyRequests,
    Unavailable,
)
from lightspeed.stack.openai_errors import told
from lightspeed.stack.unreachable import why_unreachable

logger = logging.getLogger(__name__)


class NotServed(Unavailable):
    """The server does not have this part of the API: its run.yaml names no provider for it."""

    default_response = "Not available"


class Unusable(ProviderUnavailable):
    """The server answers, but not as a Llama Stack that this service may use: waiting does not help."""


class TooSlow(ProviderUnavailable):
    """The server has taken the request, but has not answered in time."""


def transport_failure(error: httpx.HTTPError) -> ProviderUnavailable:
    """A request that got no answer."""
    if why := why_unreachable(error):
        return ProviderUnavailable(f"{why[0].upper()}{why[1:]}.")
    if isinstance(error, httpx.ReadTimeout | httpx.WriteTimeout):
        return TooSlow("The Llama Stack server did not answer in time.")
    if isinstance(error, httpx.TimeoutException):
        return ProviderUnavailable("The Llama Stack server could not be reached in time.")
    return ProviderUnavailable(told(error) or "Connection error.")


def refusal(response: httpx.Response, body: Any, resource: str, identifier: str) -> RequestError:
    """An answer with a status of 400 and above, to a request about `identifier`, which is a `resource`."""
    status, message = response.status_code, _message(body)
    match status:
        case 401 | 403:
            return Unusable(
                f"The Llama Stack server rejects the credentials of this service (status {status})."
            )
        case 404 if not _is_the_servers(body):
            path = response.request.url.path
            return NotServed(f"The Llama Stack server does not serve {path.rpartition('/v1/')[2]}.")
        case 404:
            return NotFound(resource, identifier)
        case 400 if "not found" in message.lower() and identifier and identifier in message:
            return NotFound(resource, identifier)
        case 413:
            return TooLarge(message)
        case 429:
            after = response.headers.get("retry-after")
            return TooManyRequests(message, headers={"Retry-After": after} if after else None)
        case 502 | 503 | 504:
            return ProviderUnavailable(f"The Llama Stack server is not available (status {status}).")
        case _ if status < 500:
            return BadRequest(message)
    logger.error("The Llama Stack server answered with status %d: %s", status, message)
    return InternalError()


def _is_the_servers(body: Any) -> bool:
    """Whether the answer is about what was asked for; the web framework speaks differently of unknown paths."""
    return isinstance(body, dict) and "error" in body


def _message(body: Any) -> str:
    error = body.get("error", body.get("detail")) if isinstance(body, dict) else None
    # Before 0.7 it is `detail` in there, too.
    text = error.get("message") or error.get("detail") if isinstance(error, dict) else error
    return told(Exception(text if isinstance(text, str) else "The request was refused."))
