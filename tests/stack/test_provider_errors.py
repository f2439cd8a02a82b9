"""Failures of a provider become errors that a client understands."""

import httpx
import openai
import pytest

from lightspeed.errors import (
    InternalError,
    ModelQuotaExceeded,
    ModelRefused,
    NotFound,
    PromptTooLong,
    ProviderUnavailable,
    RequestError,
)
from lightspeed.stack.provider_errors import request_error

REQUEST = httpx.Request("POST", "http://model/v1/chat/completions")


def status_error(
    status: int, message: str = "no", code: str | None = None, **headers: str
) -> openai.APIStatusError:
    response = httpx.Response(status, headers=headers, request=REQUEST)
    return openai.APIStatusError(message, response=response, body={"message": message, "code": code})


@pytest.mark.parametrize(
    ("error", "kind", "cause"),
    [
        (openai.APITimeoutError(REQUEST), ProviderUnavailable, "did not answer in time"),
        (openai.APIConnectionError(request=REQUEST), ProviderUnavailable, "Connection error"),
        (httpx.ReadError("cut"), ProviderUnavailable, "cut"),
        (httpx.ReadTimeout("late"), ProviderUnavailable, "did not answer in time"),
        (status_error(503), ProviderUnavailable, "503"),
        (status_error(429), ModelQuotaExceeded, "acme/m1"),
        (status_error(400, code="context_length_exceeded"), PromptTooLong, "acme/m1"),
        (status_error(400, "maximum context length is 10"), PromptTooLong, "acme/m1"),
        (status_error(400, "tools are odd"), ModelRefused, "tools are odd"),
        (status_error(401, "key sk-abcdefghijkl is wrong"), ModelRefused, "rejected the credentials"),
        (status_error(500, "broken; key sk-abcdefghijkl"), ModelRefused, "broken; key [redacted]"),
        (
            openai.APIError("quota", REQUEST, body={"code": "insufficient_quota"}),
            ModelQuotaExceeded,
            "acme/m1",
        ),
        (ValueError("the prompt exceeds the context length"), PromptTooLong, "acme/m1"),
        (ValueError("API key not provided."), ModelRefused, "API key not provided."),
        (KeyError("oops"), InternalError, "An unexpected error"),
        (NotFound("Model", "m1"), NotFound, "m1"),
    ],
)
def test_each_failure_has_its_error(error: Exception, kind: type[RequestError], cause: str) -> None:
    mapped = request_error(error, "acme/m1")
    assert type(mapped) is kind
    assert cause in mapped.cause
    assert "sk-abc" not in str(mapped)


def test_the_time_to_wait_is_passed_on() -> None:
    assert request_error(status_error(429, **{"retry-after": "7"}), "m").headers == {"Retry-After": "7"}


def test_a_cause_is_one_line_and_not_endless() -> None:
    mapped = request_error(ValueError("a\n  b" * 1000), "m")
    assert "\n" not in mapped.cause
    assert len(mapped.cause) <= 500
