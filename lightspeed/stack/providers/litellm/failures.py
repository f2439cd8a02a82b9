"""litellm's errors as those of OpenAI's own client, which the service understands."""

import json
import re
from collections.abc import Iterable, Iterator
from typing import Any

import aiohttp
import httpx
import openai

from lightspeed.configuration.masking import hidden

# `litellm.RateLimitError: RateLimitError: OpenAIException - Rate limit reached`
_PREFIXES = re.compile(
    r"^\s*(?:(?:litellm\.)?[A-Z]\w*(?:Error|Timeout|Exception)(?: [A-Z]\w*Error)?\s*(?::|-(?=\s))\s*)+"
)
_ADVICE = re.compile(r"\s*Handle with `litellm\.\w+`\.?\s*$")
_NO_ANSWER = (aiohttp.ClientError, httpx.TransportError, openai.APIConnectionError, ConnectionError)
_TOO_SLOW = (httpx.TimeoutException, openai.APITimeoutError, TimeoutError)
_NOWHERE = httpx.Request("POST", "http://litellm")


def provider_failure(error: Exception, kept: Iterable[str]) -> Exception:
    """What to raise for an error of litellm; its text holds none of the secrets in `kept`."""
    # The error that a stream breaks off with wraps the one that tells why.
    error = getattr(error, "original_exception", None) or error
    if not isinstance(error, openai.APIError):
        return error
    message = _message(error, kept)
    status = getattr(error, "status_code", None)
    causes = list(_causes(error))
    if isinstance(error, _TOO_SLOW) or any(isinstance(cause, _TOO_SLOW) for cause in causes):
        return openai.APITimeoutError(_NOWHERE)
    if any(isinstance(cause, _NO_ANSWER) for cause in causes):
        return openai.APIConnectionError(request=_NOWHERE)
    body = {"code": _code(error), "message": message}
    if isinstance(error, openai.APIConnectionError) or not isinstance(status, int):
        # litellm gives this class to all that it does not know.
        return openai.APIError(message, _NOWHERE, body=body)
    headers = {"retry-after": wait} if (wait := _retry_after(error)) else None
    response = httpx.Response(status, headers=headers, request=_NOWHERE)
    return openai.APIStatusError(message, response=response, body=body)


def _message(error: openai.APIError, kept: Iterable[str]) -> str:
    text = _ADVICE.sub("", _PREFIXES.sub("", hidden(" ".join(str(error).split()), kept)))
    return _told_in_json(text) or text or type(error).__name__


def _told_in_json(text: str) -> str | None:
    """The message in a provider's JSON, which litellm gives as it is, or as Python shows bytes."""
    try:
        content = json.loads(text.removeprefix("b").strip("'"))
        error = content.get("error") or content
        message = error if isinstance(error, str) else error.get("message")
    except (ValueError, AttributeError):
        return None
    return message if isinstance(message, str) else None


def _causes(error: BaseException) -> Iterator[BaseException]:
    """What lies below the error; litellm's own errors say nothing about it."""
    seen = {id(error)}
    cause = error.__cause__ or error.__context__
    while cause is not None and id(cause) not in seen:
        seen.add(id(cause))
        if not type(cause).__module__.startswith("litellm."):
            yield cause
        cause = cause.__cause__ or cause.__context__


def _code(error: Any) -> str | None:
    if type(error).__name__ == "ContextWindowExceededError":
        return "context_length_exceeded"
    code: str | None = error.code
    return code


def _retry_after(error: Any) -> str | None:
    for source in (getattr(error, "litellm_response_headers", None), getattr(error, "response", None)):
        headers = getattr(source, "headers", source)
        if headers and (wait := httpx.Headers(headers).get("retry-after")):
            return str(wait)
    return None
