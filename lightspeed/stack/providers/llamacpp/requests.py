"""Requests of the stack, translated into the JSON bodies of the engine."""

from collections.abc import Iterable, Mapping
from typing import Any

import pydantic_core
from llama_stack_api.inference.models import (
    OpenAIChatCompletionRequestWithExtraBody,
    OpenAICompletionRequestWithExtraBody,
)

SHARED = ("frequency_penalty", "logit_bias", "presence_penalty", "seed", "stop", "temperature", "top_p")
CHAT_ONLY = ("logprobs", "top_logprobs")
EXTRA = ("chat_template_kwargs", "min_p", "repeat_penalty", "top_k")


def chat_body(
    params: OpenAIChatCompletionRequestWithExtraBody, *, default_max_tokens: int, with_tools: bool
) -> bytes:
    """The engine's body for a chat request; always a stream, which is what makes it cancellable.

    Without `with_tools` the tools are left out and earlier tool calls become plain text, for models whose chat
    template knows no tools. Raises ValueError for what the engine cannot do: images, files, several answers.
    """
    _refuse_several_answers(params)
    body = _sampling(params, (*SHARED, *CHAT_ONLY))
    body["max_tokens"] = params.max_completion_tokens or params.max_tokens or default_max_tokens
    messages = [_message(message) for message in params.messages]
    body["messages"] = messages if with_tools else [_without_tools(message) for message in messages]
    if with_tools and params.tools:
        body |= _tools(params.tools, params.tool_choice)
        if params.parallel_tool_calls is not None:
            body["parallel_tool_calls"] = params.parallel_tool_calls
    if params.response_format is not None and params.response_format.type != "text":
        body["response_format"] = params.response_format.model_dump(exclude_none=True)
    return pydantic_core.to_json(body)


def completion_body(params: OpenAICompletionRequestWithExtraBody, *, default_max_tokens: int) -> bytes:
    """The engine's body for a plain completion of one prompt, a text or its token numbers. Raises ValueError."""
    _refuse_several_answers(params)
    for name in ("echo", "logprobs", "suffix"):
        if getattr(params, name):
            raise ValueError(f"'{name}' is not supported by the llama.cpp provider")
    body = _sampling(params, SHARED)
    body["max_tokens"] = params.max_tokens or default_max_tokens
    body["prompt"] = _single_prompt(params.prompt)
    return pydantic_core.to_json(body)


def _sampling(params: Any, names: Iterable[str]) -> dict[str, Any]:
    extra = params.model_extra or {}
    body = {name: getattr(params, name) for name in names} | {name: extra.get(name) for name in EXTRA}
    body = {name: value for name, value in body.items() if value is not None}
    usage = not params.stream or bool((params.stream_options or {}).get("include_usage"))
    return body | {"stream": True, "stream_options": {"include_usage": usage}, "return_progress": True}


def _refuse_several_answers(params: Any) -> None:
    for name in ("n", "best_of"):
        if (getattr(params, name, None) or 1) > 1:
            raise ValueError(f"'{name}' must be 1: the llama.cpp provider gives one answer to a request")


def _single_prompt(prompt: Any) -> str | list[int]:
    if isinstance(prompt, list) and prompt and not isinstance(prompt[0], int):
        if len(prompt) > 1:
            raise ValueError(
                "'prompt' must be one prompt: the llama.cpp provider gives one answer to a request"
            )
        prompt = prompt[0]
    if not prompt:
        raise ValueError("'prompt' must not be empty")
    return prompt  # type: ignore[no-any-return]


def _message(message: Any) -> dict[str, Any]:
    role = "system" if message.role == "developer" else message.role
    translated: dict[str, Any] = {"role": role, "content": _text(message.content)}
    if role == "tool":
        translated["tool_call_id"] = message.tool_call_id
    if role == "assistant" and message.tool_calls:
        translated["tool_calls"] = [
            {
                "id": call.id or "",
                "type": "function",
                "function": {"name": call.function.name, "arguments": call.function.arguments or "{}"},
            }
            for call in message.tool_calls
            if call.function is not None
        ]
    return translated


def _text(content: Any) -> str:
    if content is None or isinstance(content, str):
        return content or ""
    for part in content:
        if part.type != "text":
            raise ValueError(f"Content of type '{part.type}' is not supported: the model reads text only")
    return "\n".join(part.text for part in content)


def _without_tools(message: dict[str, Any]) -> dict[str, Any]:
    if message["role"] == "tool":
        return {"role": "user", "content": f"Result of the tool call:\n{message['content']}"}
    calls = message.get("tool_calls")
    if not calls:
        return message
    lines = [f"Tool call: {call['function']['name']}({call['function']['arguments']})" for call in calls]
    return {"role": "assistant", "content": "\n".join(filter(None, [message["content"], *lines]))}


def _tools(tools: list[dict[str, Any]], choice: str | Mapping[str, Any] | None) -> dict[str, Any]:
    functions = [tool for tool in tools if tool.get("type") == "function"]
    if not isinstance(choice, Mapping):
        return {"tools": functions, "tool_choice": choice or "auto"}
    if choice.get("type") == "allowed_tools":
        allowed = choice["allowed_tools"]
        names, mode = {_name(tool) for tool in allowed["tools"]}, allowed["mode"]
    else:
        names, mode = {_name(choice)}, "required"
    chosen = [tool for tool in functions if _name(tool) in names]
    if not chosen:
        raise ValueError("'tool_choice' names no tool of this request")
    return {"tools": chosen, "tool_choice": mode}


def _name(tool: Mapping[str, Any]) -> Any:
    return (tool.get("function") or tool).get("name")
