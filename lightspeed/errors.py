"""Every error that this service raises on purpose.

LightspeedError
├── ConfigurationError        the configuration files do not say what to do
├── DocumentError             a file cannot be found or read
│   ├── UnsupportedFormat         it is of a kind that is not read
│   └── EmptyDocument             it has no text
├── FormatError               the content of a file is not what its name says
├── StartupError              a part cannot start; the process ends with exit code 3
└── RequestError              one request cannot be served; carries status, response and cause
    ├── BadRequest            400
    ├── Unauthorized          401
    ├── Forbidden             403
    ├── NotFound              404
    ├── Conflict              409
    ├── Gone                  410
    ├── TooLarge              413
    │   └── PromptTooLong         the model's context window is too small
    ├── Unprocessable         422
    ├── TooManyRequests       429
    │   └── ModelQuotaExceeded    the provider's own quota
    ├── InternalError         500
    │   └── StorageError          a database or a file could not be read or written
    ├── ModelRefused          502  the provider answered with an error
    └── Unavailable           503
        ├── NotReady              models are still loading
        └── ProviderUnavailable   the provider cannot be reached
"""

from collections.abc import Mapping, Sequence
from typing import ClassVar


class LightspeedError(Exception):
    """The root of all errors of this service."""


class ConfigurationError(LightspeedError):
    """The configuration is wrong; `problems` holds one line for each mistake."""

    def __init__(self, problems: str | Sequence[str]) -> None:
        self.problems = [problems] if isinstance(problems, str) else list(problems)
        super().__init__("\n".join(self.problems))


class StartupError(LightspeedError):
    """A part of the service cannot start. The message is one line and names the part and the cause."""


class RequestError(LightspeedError):
    """One request cannot be served.

    `response` is the short sentence for people, `cause` says why; both reach the client as
    `{"detail": {"response": ..., "cause": ...}}`. Neither may hold a secret.
    """

    status: ClassVar[int] = 500
    default_response: ClassVar[str] = "Internal server error"

    def __init__(
        self, cause: str, *, response: str | None = None, headers: Mapping[str, str] | None = None
    ) -> None:
        self.cause = cause
        self.response = response or self.default_response
        self.headers = dict(headers or {})
        super().__init__(f"{self.response}: {cause}")


class BadRequest(RequestError):
    status = 400
    default_response = "Bad request"


class Unauthorized(RequestError):
    status = 401
    default_response = "Missing or invalid credentials provided by client"


class Forbidden(RequestError):
    status = 403
    default_response = "User does not have permission to perform this action"


class NotFound(RequestError):
    status = 404
    default_response = "Not found"

    def __init__(self, resource: str, identifier: str) -> None:
        super().__init__(f"{resource} with ID {identifier} does not exist", response=f"{resource} not found")


class Conflict(RequestError):
    status = 409
    default_response = "Conflict"


class Gone(RequestError):
    status = 410
    default_response = "Gone"


class TooLarge(RequestError):
    status = 413
    default_response = "Request is too large"


class PromptTooLong(TooLarge):
    default_response = "Prompt is too long"

    def __init__(self, model: str) -> None:
        super().__init__(f"The input exceeds the context window size of model '{model}'.")


class Unprocessable(RequestError):
    status = 422
    default_response = "Invalid attribute value"


class TooManyRequests(RequestError):
    status = 429
    default_response = "The quota has been exceeded"


class ModelQuotaExceeded(TooManyRequests):
    default_response = "The model quota has been exceeded"

    def __init__(self, model: str, *, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(f"The token quota for model {model} has been exceeded.", headers=headers)


class InternalError(RequestError):
    """A fault of ours; the cause given to the client never holds details."""

    def __init__(self) -> None:
        super().__init__("An unexpected error occurred while processing the request.")


class StorageError(RequestError):
    default_response = "Database query failed"


class ModelRefused(RequestError):
    status = 502
    default_response = "The model provider refused the request"


class Unavailable(RequestError):
    status = 503
    default_response = "Service unavailable"


class NotReady(Unavailable):
    default_response = "Service is starting"


class ProviderUnavailable(Unavailable):
    default_response = "Unable to connect to Llama Stack"
