"""Failures of a server that speaks OpenAI's protocol as errors of this service."""

import re

import httpx
import openai

from lightspeed.errors import (
    InternalError,
    ModelQuotaExceeded,
    ModelRefused,
    PromptTooLong,
    ProviderUnavailable,
    RequestError,
)
from lightspeed.stack.unreachable import why_unreachable

_TOO_LONG = re.compile(
    r"context[_ ](length|window|size)|maximum context|prompt is too long|too many tokens", re.IGNORECASE
)
_SECRET = re.compile(r"(?i)\b(?:sk|key|token)-[\w*.-]{6,}|\bbearer\s+\S+")
_LONGEST_CAUSE = 500


def openai_error(error: Exception, model: str) -> RequestError:
    """The error that the client shall see when a call of `model` fails with `error`."""
    match error:
        case RequestError():
            return error
        case openai.APIConnectionError() | httpx.TransportError() | OSError() if why := why_unreachable(
            error
        ):
            return ProviderUnavailable(f"The model provider cannot be reached: {why}.")
        case openai.APITimeoutError() | httpx.TimeoutException() | TimeoutError():
            return ProviderUnavailable("The model provider did not answer in time.")
        case openai.APIStatusError():
            return _from_status(error, model)
        case openai.APIConnectionError() | httpx.TransportError() | ConnectionError():
            return ProviderUnavailable(told(error) or "Connection error.")
        case openai.APIError():
            return _from_body(error, model)
        case ValueError() | RuntimeError() if _TOO_LONG.search(str(error)):
            return PromptTooLong(model)
        case ValueError():
            return ModelRefused(told(error))
    return InternalError()


def _from_status(error: openai.APIStatusError, model: str) -> RequestError:
    if error.status_code == 429:
        retry_after = error.response.headers.get("retry-after")
        return ModelQuotaExceeded(model, headers={"Retry-After": retry_after} if retry_after else None)
    if error.status_code in (401, 403):
        return ModelRefused(
            f"The model provider rejected the credentials of this service (status {error.status_code})."
        )
    if error.status_code in (502, 503, 504):
        return ProviderUnavailable(f"The model provider is not available (status {error.status_code}).")
    return _from_body(error, model)


def _from_body(error: openai.APIError, model: str) -> RequestError:
    if error.code == "context_length_exceeded" or _TOO_LONG.search(error.message):
        return PromptTooLong(model)
    if error.code in ("insufficient_quota", "rate_limit_exceeded"):
        return ModelQuotaExceeded(model)
    return ModelRefused(told(error))


def told(error: Exception) -> str:
    """What an error says, on one line, not too long, and without what looks like a key."""
    text = " ".join(str(error).split())
    return _SECRET.sub("[redacted]", text)[:_LONGEST_CAUSE]
