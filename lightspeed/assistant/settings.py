"""What an operator decides about the Turn."""

from collections.abc import Mapping
from dataclasses import dataclass, field

DEFAULT_SYSTEM_PROMPT = "You are a helpful assistant"
DEFAULT_TOPIC_SUMMARY_PROMPT = (
    "Write a title of at most five words for a conversation that starts with the following question. "
    "Write only the title."
)


@dataclass(frozen=True, slots=True)
class AssistantSettings:
    """`context_windows` maps `provider/model` to tokens and wins over what a provider tells of its model.

    `topic_summary_prompt` asks a model to name a conversation after its first question.
    """

    default_provider: str | None = None
    default_model: str | None = None
    system_prompt: str = DEFAULT_SYSTEM_PROMPT
    topic_summary_prompt: str = DEFAULT_TOPIC_SUMMARY_PROMPT
    request_may_set_system_prompt: bool = True
    context_windows: Mapping[str, int] = field(default_factory=dict)
    max_tool_rounds: int = 10
    turn_timeout: float = 600.0
