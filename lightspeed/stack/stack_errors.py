"""Failures of the stack's vector stores and files as errors of this service."""

from collections.abc import Iterator
from contextlib import contextmanager

from llama_stack_api.common.errors import LlamaStackError, ResourceNotFoundError
from pydantic import ValidationError

from lightspeed.errors import BadRequest, NotFound, ProviderUnavailable, RequestError
from lightspeed.stack.provider_errors import request_error

_LONGEST_CAUSE = 500


@contextmanager
def reported(resource: str, identifier: str) -> Iterator[None]:
    """What the stack says of a resource, as an error of this service."""
    try:
        yield
    except NotFound as error:
        # Our own providers have other names for it.
        raise NotFound(resource, identifier) from error
    except RequestError:
        raise
    except ResourceNotFoundError as error:
        raise NotFound(resource, identifier) from error
    except KeyError as error:
        # A provider of the stack that forgets a store while it works on it.
        if error.args and identifier in str(error.args[0]):
            raise NotFound(resource, identifier) from error
        raise request_error(error, "") from error
    except ValidationError as error:
        raise request_error(TypeError("the stack's own data are wrong"), "") from error
    except ValueError as error:
        if "not found" in str(error).lower() and identifier in str(error):
            raise NotFound(resource, identifier) from error
        raise BadRequest(_cause(error)) from error
    except LlamaStackError as error:
        if error.status_code == 503:
            raise ProviderUnavailable(_cause(error)) from error
        if 400 <= error.status_code < 500:
            raise BadRequest(_cause(error)) from error
        raise request_error(error, "") from error
    except Exception as error:
        raise request_error(error, "") from error


def _cause(error: Exception) -> str:
    return " ".join(str(error).split())[:_LONGEST_CAUSE]
