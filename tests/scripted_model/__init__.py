"""A model server that says what a test scripts: OpenAI's protocol over real HTTP.

    async with ScriptedModel(Reply("Two nodes.")) as model:
        client = AsyncOpenAI(base_url=model.base_url, api_key="any")

The same with a plain `with` in synchronous tests; `python -m tests.scripted_model --port N` as a process.
"""

from tests.scripted_model.error import (
    ApiError,
    context_length_exceeded,
    insufficient_quota,
    invalid_api_key,
    model_not_found,
    rate_limit_exceeded,
    server_error,
)
from tests.scripted_model.moment import Moment
from tests.scripted_model.reply import HEADERS, Reply, ToolCall, Usage
from tests.scripted_model.script import Answer, Received
from tests.scripted_model.server import ScriptedModel

__all__ = [
    "HEADERS",
    "Answer",
    "ApiError",
    "Moment",
    "Received",
    "Reply",
    "ScriptedModel",
    "ToolCall",
    "Usage",
    "context_length_exceeded",
    "insufficient_quota",
    "invalid_api_key",
    "model_not_found",
    "rate_limit_exceeded",
    "server_error",
]
