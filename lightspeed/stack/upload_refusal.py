"""What a client is told when the stack does not take an uploaded file."""

from lightspeed.errors import BadRequest, RequestError, TooLarge

_RESPONSE = "Invalid file upload"
_ABOUT_SIZE = ("too large", "size", "exceeds")


def upload_refusal(error: BadRequest | TooLarge) -> RequestError:
    """The stack says of a file that is too large only that the request is bad."""
    if isinstance(error, TooLarge) or any(word in error.cause for word in _ABOUT_SIZE):
        return TooLarge(f"File upload rejected: {error.cause}", response=_RESPONSE)
    return BadRequest(f"File upload rejected by Llama Stack: {error.cause}", response=_RESPONSE)
