"""Provider failures as errors of this service."""

from llama_stack_api import ModelNotFoundError

from lightspeed.errors import NotFound, RequestError
from lightspeed.stack.openai_errors import openai_error


def request_error(error: Exception, model: str) -> RequestError:
    """The error that the client shall see when a call of `model` fails with `error`."""
    if isinstance(error, ModelNotFoundError):
        return NotFound("Model", model.rpartition("/")[2])
    return openai_error(error, model)
