"""How a provider is: what it says itself, or whether it lists its models."""

import asyncio
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import httpx
import openai

from lightspeed.errors import InternalError, LightspeedError
from lightspeed.stack.model_listing import NoKey, offered_models
from lightspeed.stack.provider_errors import request_error
from lightspeed.stack.unreachable import why_unreachable

ANSWERS_WITHIN = 10.0  # seconds

_LONGEST_MESSAGE = 300
_CANNOT_LIST = frozenset({404, 405, 501})


class Status(StrEnum):
    """`NOT_IMPLEMENTED`: the provider cannot be asked."""

    OK = "OK"
    ERROR = "Error"
    NOT_IMPLEMENTED = "Not Implemented"


@dataclass(frozen=True, slots=True)
class ProviderHealth:
    """What was found when the provider was asked last; `message` holds no secret."""

    api: str
    provider_id: str
    status: Status
    message: str | None = None

    @property
    def is_down(self) -> bool:
        return self.status is Status.ERROR


@dataclass(frozen=True, slots=True)
class Finding:
    """The answer of one provider; `models` is None if it did not list any."""

    status: Status
    message: str | None = None
    models: list[Any] | None = None


async def examine(provider: Any, *, lists_models: bool) -> Finding:
    """Ask one provider, for at most ANSWERS_WITHIN seconds. Raises nothing."""
    try:
        async with asyncio.timeout(ANSWERS_WITHIN):
            if not lists_models:
                return await _own_word(provider)
            models = await offered_models(provider)
            found = Finding(Status.OK, None, models)
            return found if _is_openai(provider) else await _own_word(provider, found)
    except openai.APIStatusError as error:
        if error.status_code in _CANNOT_LIST:
            return Finding(Status.OK, "It answers, but cannot list its models.")
        if error.status_code == 429:
            return Finding(Status.OK, "It answers, but limits the number of requests at the moment.")
        return Finding(Status.ERROR, reason(error))
    except Exception as error:
        return Finding(Status.ERROR, reason(error))


def reason(error: Exception) -> str:
    """Why a provider does not work, in one line."""
    match error:
        case NoKey():
            return "No API key is configured."
        case openai.APIConnectionError() | httpx.TransportError() if why := why_unreachable(error):
            return f"It cannot be reached: {why}."
        case openai.APITimeoutError(__cause__=httpx.ConnectTimeout()) | httpx.ConnectTimeout():
            return "It cannot be reached."
        case openai.APITimeoutError() | httpx.TimeoutException() | TimeoutError():
            return f"It does not answer within {ANSWERS_WITHIN:g} seconds."
        case openai.APIConnectionError():
            return "It cannot be reached."
        case openai.APIStatusError() if error.status_code >= 500:
            return f"It answers with status {error.status_code}."
        case openai.APIStatusError():
            return request_error(error, "").cause
        case LightspeedError() if not isinstance(error, InternalError):
            return _line(getattr(error, "cause", error))
    return _line(error) or type(error).__name__


async def _own_word(provider: Any, otherwise: Finding | None = None) -> Finding:
    """What its method `health` says, where it has one."""
    ask = getattr(provider, "health", None)
    if ask is None:
        return otherwise or Finding(Status.NOT_IMPLEMENTED, "The provider cannot be asked for its health.")
    try:
        said = await ask()
    except NotImplementedError:
        return otherwise or Finding(Status.NOT_IMPLEMENTED, "The provider cannot be asked for its health.")
    models = otherwise.models if otherwise else None
    status = Status(said.get("status", Status.NOT_IMPLEMENTED))
    message = said.get("message")
    return Finding(status, _line(message) if message else None, models)


def _is_openai(provider: Any) -> bool:
    from llama_stack.providers.utils.inference.openai_mixin import OpenAIMixin

    return isinstance(provider, OpenAIMixin)


def _line(text: Any) -> str:
    return " ".join(str(text).split())[:_LONGEST_MESSAGE]
