"""Errors of one request, made from what the engine reports."""

from collections.abc import Mapping
from typing import Any


class ContextLengthExceeded(ValueError):
    """The prompt does not fit into the context of one request."""

    def __init__(self, prompt_tokens: int | None, context_size: int) -> None:
        prompt = "The prompt" if prompt_tokens is None else f"The prompt of {prompt_tokens} tokens"
        super().__init__(f"{prompt} exceeds the context length of {context_size} tokens")
        self.prompt_tokens = prompt_tokens
        self.context_size = context_size


def engine_error(report: Mapping[str, Any], context_size: int) -> Exception:
    """The exception for the engine's `{"code": ..., "message": ..., "type": ...}`.

    ContextLengthExceeded for a prompt that is too long, ValueError for any other request that the engine
    refuses, RuntimeError for a failure of the engine itself. `context_size` is in tokens.
    """
    message = str(report.get("message", "unknown error"))
    if report.get("type") == "exceed_context_size_error":
        return ContextLengthExceeded(report.get("n_prompt_tokens"), report.get("n_ctx", context_size))
    code = report.get("code", 500)
    if isinstance(code, int) and 400 <= code < 500:
        return ValueError(message)
    return RuntimeError(message)
