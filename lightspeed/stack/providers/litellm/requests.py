"""Requests of the stack as arguments of litellm's calls."""

from typing import Any

from llama_stack_api import OpenAIChatCompletionRequestWithExtraBody, OpenAIEmbeddingsRequestWithExtraBody

from lightspeed.stack.providers.litellm.config import LitellmModel

_TIMEOUT = 600.0  # seconds, as OpenAI's own client has it
# A request may not set everything that litellm takes: where to call, or with which key, is the operator's choice.
_MORE_OF_A_REQUEST = ("min_p", "thinking", "top_k")


def chat_arguments(
    params: OpenAIChatCompletionRequestWithExtraBody, settings: LitellmModel
) -> dict[str, Any]:
    """The arguments of `acompletion`."""
    fields = set(type(params).model_fields) - {"model"}
    asked: dict[str, Any] = params.model_dump(include=fields, exclude_none=True)
    more = params.model_extra or {}
    asked |= {name: more[name] for name in _MORE_OF_A_REQUEST if more.get(name) is not None}
    # Without this one, litellm imports a part of itself for tools that needs a later version of the package mcp.
    return _arguments(settings) | asked | {"_skip_mcp_handler": True}


def embedding_arguments(
    params: OpenAIEmbeddingsRequestWithExtraBody, settings: LitellmModel
) -> dict[str, Any]:
    """The arguments of `aembedding`; vectors are always asked for as numbers."""
    arguments = _arguments(settings) | {"input": params.input}
    if params.dimensions is not None:
        arguments["dimensions"] = params.dimensions
    if params.user is not None:
        arguments["user"] = params.user
    return arguments


def _arguments(settings: LitellmModel) -> dict[str, Any]:
    # Parameters that a model does not know, such as `seed`, are left out instead of refused.
    arguments = {"drop_params": True, "timeout": _TIMEOUT, **settings.extra, "model": settings.model}
    if settings.api_key is not None:
        arguments["api_key"] = settings.api_key.get_secret_value()
    if settings.api_base is not None:
        arguments["api_base"] = settings.api_base
    return arguments
