"""Messages of OpenAI's chat completions in the shapes of OpenTelemetry's conventions for generative AI."""

import json
from collections.abc import Mapping, Sequence
from typing import Any


def system_instructions(messages: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """The parts of all messages of the system."""
    return [part for message in messages if message.get("role") == "system" for part in _texts(message)]


def input_messages(messages: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """All other messages, each with a role and its parts."""
    return [
        {"role": message.get("role"), "parts": _parts(message)}
        for message in messages
        if message.get("role") != "system"
    ]


def answer(text: str, calls: Sequence[tuple[str, str, Sequence[str]]], finish_reason: str) -> dict[str, Any]:
    """What the model has said; each call is its id, its name and the pieces of its arguments."""
    parts: list[dict[str, Any]] = [{"type": "text", "content": text}] if text else []
    parts += [_call(identifier, name, "".join(arguments)) for identifier, name, arguments in calls]
    return {"role": "assistant", "parts": parts, "finish_reason": finish_reason}


def _parts(message: Mapping[str, Any]) -> list[dict[str, Any]]:
    if message.get("role") == "tool":
        response = message.get("content")
        return [{"type": "tool_call_response", "id": message.get("tool_call_id"), "response": response}]
    calls = [
        _call(call.get("id"), call["function"]["name"], call["function"]["arguments"])
        for call in message.get("tool_calls") or ()
    ]
    return _texts(message) + calls


def _texts(message: Mapping[str, Any]) -> list[dict[str, Any]]:
    content = message.get("content")
    if not content:
        return []
    if isinstance(content, str):
        return [{"type": "text", "content": content}]
    return [{"type": "text", "content": part["text"]} for part in content if part.get("type") == "text"]


def _call(identifier: str | None, name: str, arguments: str) -> dict[str, Any]:
    try:
        given: Any = json.loads(arguments)
    except ValueError:
        given = arguments
    return {"type": "tool_call", "id": identifier, "name": name, "arguments": given}
