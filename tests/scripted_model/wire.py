"""Replies as the bytes of OpenAI's chat completions.

What does not change between requests is rendered once per reply: a chunk is its request's `head` followed
by a tail from the reply, so that a streamed token costs one concatenation.
"""

import json
import time
from typing import Any

from tests.scripted_model.reply import Reply, Usage, call_arguments, call_id

DONE = b"data: [DONE]\n\n"
MALFORMED_CHUNK = b'data: {"id": "chatcmpl-broken", "choices": [{"delta"\n\n'
MALFORMED_BODY = b'{"id": "chatcmpl-broken", "choices": ['


def head(number: int, model: str, kind: str) -> bytes:
    """The opening of each chunk, or of the only body, of request `number`."""
    fields = {"id": f"chatcmpl-{number}", "object": kind, "created": int(time.time()), "model": model}
    return json.dumps(fields)[:-1].encode() + b", "


def usage_of(reply: Reply, messages: list[dict[str, Any]]) -> dict[str, Any]:
    """The scripted usage, else the words of the messages and the deltas of the reply."""
    usage = reply.usage or Usage(
        prompt_tokens=sum(len(_text(message).split()) for message in messages),
        completion_tokens=reply.deltas(),
        reasoning_tokens=len(reply.reasoning_pieces),
    )
    return {
        "prompt_tokens": usage.prompt_tokens,
        "completion_tokens": usage.completion_tokens,
        "total_tokens": usage.prompt_tokens + usage.completion_tokens,
        "prompt_tokens_details": {"cached_tokens": usage.cached_tokens},
        "completion_tokens_details": {"reasoning_tokens": usage.reasoning_tokens},
    }


def stream_tails(reply: Reply, with_usage: bool) -> tuple[bytes, list[bytes], bytes]:
    """The tails of a stream: of the opening chunk, of one chunk per delta, of the finishing chunk."""
    if with_usage not in reply.rendered:
        opening = {"role": "assistant", "content": "" if reply.text_pieces else None}
        deltas: list[dict[str, Any]] = [
            *({"reasoning_content": piece} for piece in reply.reasoning_pieces),
            *({"content": piece} for piece in reply.text_pieces),
            *({"tool_calls": [delta]} for delta in reply.tool_deltas),
        ]
        reply.rendered[with_usage] = (
            _tail(opening, None, with_usage),
            [_tail(delta, None, with_usage) for delta in deltas],
            _tail({}, reply.finish(), with_usage),
        )
    tails: tuple[bytes, list[bytes], bytes] = reply.rendered[with_usage]
    return tails


def empty_tail(with_usage: bool) -> bytes:
    return b'"choices": [], "usage": null}\n\n' if with_usage else b'"choices": []}\n\n'


def usage_tail(usage: dict[str, Any]) -> bytes:
    return b'"choices": [], "usage": ' + json.dumps(usage).encode() + b"}\n\n"


def body_tail(reply: Reply, usage: dict[str, Any]) -> bytes:
    """The rest of an answer that is not streamed."""
    if "body" not in reply.rendered:
        message: dict[str, Any] = {"role": "assistant", "content": reply.content() or None, "refusal": None}
        if reply.reasoning_pieces:
            message["reasoning_content"] = "".join(reply.reasoning_pieces)
        if reply.tool_calls:
            message["tool_calls"] = [
                {
                    "id": call_id(index, call),
                    "type": "function",
                    "function": {"name": call.name, "arguments": call_arguments(call)},
                }
                for index, call in enumerate(reply.tool_calls)
            ]
        choice = {"index": 0, "message": message, "logprobs": None, "finish_reason": reply.finish()}
        choices = [] if reply.empty_choices else [choice]
        reply.rendered["body"] = b'"choices": ' + json.dumps(choices).encode() + b', "usage": '
    tail: bytes = reply.rendered["body"]
    return tail + json.dumps(usage).encode() + b"}"


def _tail(delta: dict[str, Any], finish_reason: str | None, with_usage: bool) -> bytes:
    choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish_reason}
    usage = b', "usage": null' if with_usage else b""
    return b'"choices": ' + json.dumps([choice]).encode() + usage + b"}\n\n"


def _text(message: dict[str, Any]) -> str:
    content = message.get("content")
    if isinstance(content, list):
        return " ".join(part.get("text", "") for part in content)
    return content or ""
