"""How many tokens a call has taken, for providers that do not tell."""

import json
import logging
import os
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from anyio import to_thread

from lightspeed.stack.chat import ChatRequest

logger = logging.getLogger(__name__)

_ENCODING = "cl100k_base"
_MESSAGE_OVERHEAD = 4  # tokens that a chat template adds to each message
_BYTES_PER_TOKEN = 4


async def estimated_tokens(request: ChatRequest, answer: str) -> tuple[int, int]:
    """Tokens of what was sent and of what came back. Counts as many models do, not as the one that was asked."""
    return await to_thread.run_sync(_estimate, request, answer)


def _estimate(request: ChatRequest, answer: str) -> tuple[int, int]:
    count = _counter()
    sent = sum(count(text) for message in request.messages for text in _texts(message))
    sent += sum(count(json.dumps(tool)) for tool in request.tools)
    return sent + _MESSAGE_OVERHEAD * len(request.messages), count(answer)


def _texts(message: Mapping[str, Any]) -> Iterator[str]:
    content = message.get("content")
    if content:
        yield content if isinstance(content, str) else json.dumps(content)
    for call in message.get("tool_calls") or ():
        yield call["function"]["name"]
        yield call["function"]["arguments"]


def _counter() -> Callable[[str], int]:
    # Without its tables on this machine the tokenizer would look for them in the network.
    if "TIKTOKEN_CACHE_DIR" not in os.environ:
        return _by_length
    try:
        # Imported where it is used, in a thread: that takes a while.
        import tiktoken

        encode = tiktoken.get_encoding(_ENCODING).encode_ordinary
    except Exception as error:
        logger.debug("Tokens are estimated by length: %s", error)
        return _by_length
    return lambda text: len(encode(text))


def _by_length(text: str) -> int:
    return -(-len(text.encode("utf-8", "replace")) // _BYTES_PER_TOKEN)
