"""The Python package litellm, imported and made to keep quiet."""

import importlib
import logging
import os
import warnings
from collections.abc import MutableMapping
from contextlib import suppress
from typing import Any

from lightspeed.errors import StartupError
from lightspeed.stack.environment import prepare_environment

_LOGGERS = ("LiteLLM", "LiteLLM Router", "LiteLLM Proxy")


def load_litellm(environment: MutableMapping[str, str] = os.environ) -> Any:
    """The module. Takes seconds: call it in a worker thread. Raises StartupError when it cannot be imported."""
    prepare_environment(environment)
    # In its other mode it puts the file `.env` of the working directory into the environment of this process.
    environment.setdefault("LITELLM_MODE", "PRODUCTION")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            litellm: Any = importlib.import_module("litellm")
        except ImportError as error:
            raise StartupError(f"The Python package litellm cannot be imported: {error}") from error
        litellm.telemetry = False
        litellm.suppress_debug_info = True  # it prints advice to standard output
        _silence()
        _warm_up(litellm)
    return litellm


def _warm_up(litellm: Any) -> None:
    """Half of litellm is imported, and most of its models are built, by the first call, which would wait for it."""
    question = {"model": "openai/none", "messages": [{"role": "user", "content": "?"}], "mock_response": "."}
    litellm.completion(**question)
    list(litellm.completion(**question, stream=True))
    with suppress(ImportError, AttributeError):
        # The certificates are read once and kept; it is no part of its public interface.
        importlib.import_module("litellm.llms.custom_httpx.http_handler").get_ssl_configuration()


def _silence() -> None:
    for name in _LOGGERS:
        # What fails is raised as well, and logged once by the service; its own lines may quote prompts.
        logger = logging.getLogger(name)
        logger.handlers.clear()
        logger.setLevel(logging.CRITICAL + 1)
