"""The errors that OpenAI's API answers with, as `{"error": {...}}`."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True)
class ApiError:
    """An error answer. `status` and `headers` count only where it is sent instead of an answer."""

    status: int
    message: str
    type: str
    code: str | None = None
    param: str | None = None
    headers: Mapping[str, str] = field(default_factory=dict)

    def body(self) -> dict[str, Any]:
        return {"error": {"message": self.message, "type": self.type, "param": self.param, "code": self.code}}


def context_length_exceeded(limit: int = 8192, asked: int = 9000) -> ApiError:
    message = (
        f"This model's maximum context length is {limit} tokens. However, your messages resulted in "
        f"{asked} tokens. Please reduce the length of the messages."
    )
    return ApiError(400, message, "invalid_request_error", "context_length_exceeded", "messages")


def insufficient_quota() -> ApiError:
    message = "You exceeded your current quota, please check your plan and billing details."
    return ApiError(429, message, "insufficient_quota", "insufficient_quota")


def rate_limit_exceeded(retry_after: float = 0) -> ApiError:
    """`retry_after` in seconds; the real SDK waits that long before it tries again."""
    message = "Rate limit reached for requests."
    return ApiError(
        429, message, "requests", "rate_limit_exceeded", headers={"retry-after": f"{retry_after:g}"}
    )


def invalid_api_key() -> ApiError:
    return ApiError(401, "Incorrect API key provided.", "invalid_request_error", "invalid_api_key")


def model_not_found(model: str) -> ApiError:
    message = f"The model '{model}' does not exist or you do not have access to it."
    return ApiError(404, message, "invalid_request_error", "model_not_found", "model")


def server_error(status: int = 500) -> ApiError:
    return ApiError(status, "The server had an error while processing your request.", "server_error")
