"""The events that Splunk receives of answered questions."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

AUTH_DISABLED = "auth_disabled"
"""Organisation and system of a question that came without such an identity."""

type InferSource = Literal["infer_with_llm", "infer_error", "infer_shield_blocked"]
type ResponsesSource = Literal["responses_completed", "responses_error", "responses_shield_blocked"]

_LONGEST_USER_AGENT = 128
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")


@dataclass(frozen=True, slots=True)
class InferEvent:
    """One question to /v1/infer. `response` is the text, or the class of the error; the time is in seconds."""

    sourcetype: InferSource
    question: str
    response: str
    inference_time: float
    model: str
    deployment: str
    request_id: str
    total_llm_tokens: int = 0
    org_id: str = AUTH_DISABLED
    system_id: str = AUTH_DISABLED
    cla_version: str = ""
    system_os: str = ""
    system_version: str = ""
    system_arch: str = ""

    def fields(self) -> Mapping[str, Any]:
        """`cla_version` is the user agent of the client."""
        return {
            "question": self.question,
            "refined_questions": [],
            "context": "",
            "response": self.response,
            "inference_time": self.inference_time,
            "model": self.model,
            "deployment": self.deployment,
            "org_id": self.org_id,
            "system_id": self.system_id,
            "total_llm_tokens": self.total_llm_tokens,
            "request_id": self.request_id,
            "cla_version": self.cla_version,
            "system_os": self.system_os,
            "system_version": self.system_version,
            "system_arch": self.system_arch,
        }


@dataclass(frozen=True, slots=True)
class ResponsesEvent:
    """One request to /v1/responses. `response_text` is the answer, or the class of the error; the time is in seconds."""

    sourcetype: ResponsesSource
    input_text: str
    response_text: str
    conversation_id: str
    inference_time: float
    model: str
    deployment: str
    total_llm_tokens: int = 0
    org_id: str = AUTH_DISABLED
    system_id: str = AUTH_DISABLED
    user_agent: str = ""

    def fields(self) -> Mapping[str, Any]:
        """The user agent is cut to 128 characters, without control characters."""
        return {
            "input_text": self.input_text,
            "response_text": self.response_text,
            "conversation_id": self.conversation_id,
            "inference_time": self.inference_time,
            "model": self.model,
            "deployment": self.deployment,
            "org_id": self.org_id,
            "system_id": self.system_id,
            "total_llm_tokens": self.total_llm_tokens,
            "user_agent": _CONTROL.sub("", self.user_agent)[:_LONGEST_USER_AGENT],
        }
